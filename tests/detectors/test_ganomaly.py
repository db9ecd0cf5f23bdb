"""GANomaly's networks against the published sizes, its losses and score by hand, and eval mode where the original trains on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor, nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.adversarial.ganomaly import GANomaly

SPEC = ImageSpec(1, 32, 32)


def small(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    return build(lambda: GANomaly(spec, **({"width": 4, "code": 8} | parameters)))


def ready(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    return Training(2).fit(small(spec, **parameters), phantoms(spec, 32, seed=1))


def millions(*networks: nn.Module) -> float:
    return sum(p.numel() for network in networks for p in network.parameters()) / 1e6


@pytest.mark.parametrize(("width", "generator", "discriminator"), [(64, 143.94, 44.74), (16, 10.845, 2.80)])
def test_the_networks_have_the_known_sizes(width: int, generator: float, discriminator: float) -> None:
    with torch.device("meta"):
        detector = GANomaly(ImageSpec(1, 256, 256), width=width)
        code = detector.encoder(torch.zeros(2, 1, 256, 256))
        logits, features = detector.discriminator(torch.zeros(2, 1, 256, 256))
        copy = detector.decoder(code)
    assert millions(detector.encoder, detector.decoder, detector.second_encoder) == pytest.approx(generator, abs=0.005)
    assert millions(detector.discriminator) == pytest.approx(discriminator, abs=0.005)
    assert code.shape == (2, 100, 1, 1)
    assert copy.shape == (2, 1, 256, 256)
    assert logits.shape == (2,)
    assert features.shape == (2, 32 * width, 4, 4)


def test_the_first_weights_are_normal() -> None:
    detector = small(width=32)
    convolutions = [m for m in detector.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert all(m.bias is None for m in convolutions)
    assert torch.cat([m.weight.flatten() for m in convolutions]).std().item() == pytest.approx(0.02, rel=0.02)
    factors = torch.cat([m.weight for m in detector.modules() if isinstance(m, nn.BatchNorm2d)])
    assert factors.mean().item() == pytest.approx(1.0, abs=0.01)
    assert factors.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("spec", [ImageSpec(1, 32, 32), ImageSpec(3, 32, 48, -1.0, 1.0), ImageSpec(1, 32, 32, -100.0, 300.0)])
def test_score_and_residual_by_hand(spec: ImageSpec) -> None:
    detector, images = ready(spec), phantoms(spec, 3, seed=2)
    with torch.no_grad():
        stretched = 2 * (images - spec.low) / (spec.high - spec.low) - 1
        code = detector.encoder(stretched)
        copy = detector.decoder(code)
        again = detector.second_encoder(copy)
    assert stretched.min() >= -1
    assert stretched.max() <= 1
    scores = detector.score(images)
    assert scores.image.numpy() == pytest.approx(((code - again) ** 2).mean((1, 2, 3)).numpy(), rel=1e-3)
    residual = (stretched - copy).abs().mean(1, keepdim=True) * (spec.high - spec.low) / 2
    assert scores.map.numpy() == pytest.approx(residual.numpy(), rel=1e-3, abs=1e-5 * (spec.high - spec.low))
    assert scores.parts["residual"].numpy() == pytest.approx(scores.map.mean((1, 2, 3)).numpy(), rel=1e-5)


def test_scores_do_not_depend_on_the_batch_nor_touch_its_statistics() -> None:
    detector, images = ready(), phantoms(SPEC, 4, seed=2)
    detector.train()  # as if somebody had forgotten eval()
    before = {name: value.clone() for name, value in detector.named_buffers()}
    alone = detector.score(images[:1]).image
    beside_white = detector.score(torch.cat([images[:1], torch.ones(7, 1, 32, 32)])).image[:1]
    assert torch.allclose(alone, beside_white, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in detector.named_buffers())
    in_training = detector.generator(2 * images - 1)
    assert not torch.allclose(detector.score(images).image, (in_training[1] - in_training[2]).square().mean(1), rtol=0.01)


def test_instance_norm_is_batch_norm_in_training_mode_with_one_image() -> None:
    batch, instance = small().train(), small(norm="instance")
    instance.load_state_dict({name: value for name, value in batch.state_dict().items() if name in instance.state_dict()})
    instance.fitted_.fill_(True)
    for image in phantoms(SPEC, 3, seed=2).split(1):
        _, code, again = batch.generator(2 * image - 1)
        assert instance.score(image).image.item() == pytest.approx((code - again).square().mean().item(), rel=1e-3)


def step(detector: Any, image: Tensor) -> tuple[dict[str, Tensor], dict[str, float], list[str]]:
    """The losses that one step reports, those that it asks to be followed, and the order."""
    followed: dict[str, float] = {}
    order: list[str] = []

    def update(loss: Tensor, name: str) -> None:
        followed[name] = float(loss.detach())
        order.append(name)

    return detector.phases()[0].step(Batch(image), update), followed, order


def test_the_losses_by_hand() -> None:
    detector = small(adversarial_weight=2.0, contextual_weight=30.0, encoding_weight=5.0).eval()
    image = phantoms(SPEC, 4, seed=2)
    with torch.no_grad():
        x = 2 * image - 1
        code = detector.encoder(x)
        copy = detector.decoder(code)
        again = detector.second_encoder(copy)
        real, fake = detector.discriminator(x), detector.discriminator(copy)
    adversarial = np.mean((real[1].numpy() - fake[1].numpy()) ** 2)
    contextual = np.abs(copy.numpy() - x.numpy()).mean()
    encoding = np.mean((code.numpy() - again.numpy()) ** 2)
    p_real, p_fake = (1 / (1 + np.exp(-logits[0].numpy().astype(float))) for logits in (real, fake))
    judge = -0.5 * (np.log(p_real).mean() + np.log(1 - p_fake).mean())
    losses, followed, order = step(detector, image)
    assert order == ["generator", "discriminator"]
    assert followed["generator"] == pytest.approx(2 * adversarial + 30 * contextual + 5 * encoding, rel=1e-4)
    assert followed["discriminator"] == pytest.approx(judge, rel=1e-4)
    assert float(losses["encoding"]) == pytest.approx(encoding, rel=1e-3)
    with torch.no_grad():
        validation = detector.phases()[0].validate(Batch(image))
    assert float(validation.mean()) == pytest.approx(30 * contextual + 5 * encoding, rel=1e-4)


def test_both_encoders_learn_from_the_difference_of_the_codes() -> None:
    detector = small(adversarial_weight=0.0, contextual_weight=0.0)
    reached: set[str] = set()

    def note(phase: Any, name: str) -> None:
        if name == "generator":
            reached.update(n for n, p in detector.named_parameters() if p.grad is not None and bool((p.grad != 0).any()))

    Training(1, after_backward=note).fit(detector, phantoms(SPEC, 16, seed=1))
    assert {"encoder.1.weight", "second_encoder.1.weight", "decoder.0.weight"} <= reached


def test_a_discriminator_that_has_won_begins_anew() -> None:
    detector = small()
    image = phantoms(SPEC, 4, seed=2)
    before = [p.detach().clone() for p in detector.discriminator.parameters()]
    step(detector, image)
    assert all(torch.equal(p, old) for p, old in zip(detector.discriminator.parameters(), before, strict=True))
    calls = iter([100.0, 0.0, -100.0])  # real, then the copy for the generator, then the copy detached
    forward = detector.discriminator.forward

    def certain(given: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = forward(given)
        return logits * 0 + next(calls), features

    detector.discriminator.forward = certain
    step(detector, image)
    changed = [not torch.equal(p, old) for p, old in zip(detector.discriminator.parameters(), before, strict=True)]
    assert sum(changed) >= len(changed) - 2  # biases of batch norm are 0 before and after
    assert detector.discriminator.last.weight.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize(("height", "width"), [(50, 64), (4, 4)])
def test_sizes_that_cannot_be_halved_are_refused(height: int, width: int) -> None:
    with pytest.raises(MedoodError, match=r"GANomaly.*\.$"):
        GANomaly(ImageSpec(1, height, width))
