"""f-AnoGAN's networks against the published sizes, its gradient penalty on a critic with a known gradient, and its two phases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor, nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.adversarial.f_anogan import FAnoGAN, gradient_penalty

SPEC = ImageSpec(1, 64, 64)


def small(**parameters: Any) -> Any:
    return build(lambda: FAnoGAN(SPEC, **({"width": 2, "latent": 8} | parameters)))


def millions(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


@pytest.mark.parametrize(
    ("side", "widths", "generator", "critic"),
    [
        (64, [512, 512, 256, 128, 64], 8.54, 7.49),
        (128, [512, 512, 256, 128, 64, 64], 8.62, 7.57),
        (256, [512, 512, 512, 256, 128, 64, 32], 13.55, 12.50),
    ],
)
def test_the_networks_have_the_known_sizes(side: int, widths: list[int], generator: float, critic: float) -> None:
    with torch.device("meta"):
        detector = FAnoGAN(ImageSpec(1, side, side))
        image = torch.zeros(2, 1, side, side)
        assert detector.generator(torch.zeros(2, 128)).shape == image.shape
        assert detector.critic(image).shape == (2,)
        assert detector.critic.features(image).shape == (2, 8192)
        assert detector.encoder(image).shape == (2, 128)
    assert [m.num_features for m in detector.generator.modules() if isinstance(m, nn.BatchNorm2d)][::2] == widths
    assert millions(detector.generator) == pytest.approx(generator, abs=0.005)
    assert millions(detector.critic) == pytest.approx(critic, abs=0.005)


def test_the_critic_judges_each_image_by_itself() -> None:
    detector = small().train()
    assert not any(isinstance(m, (nn.BatchNorm2d, nn.Dropout)) for m in detector.critic.modules())
    images = phantoms(SPEC, 3, seed=1)
    assert torch.allclose(detector.critic(images)[:1], detector.critic(images[:1]), atol=1e-5)


def test_the_penalty_of_a_linear_critic_is_known() -> None:
    weight = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))
    real, fake = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    share = torch.rand(5, 1, 1, 1)
    expected = (weight.square().sum().sqrt() - 1) ** 2
    found = gradient_penalty(lambda image: (image * weight).sum((1, 2, 3)), real, fake, share)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_penalty_is_taken_per_image_between_real_and_fake() -> None:
    """For half the squared length the gradient is the image itself."""
    real, fake = torch.zeros(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    real[:, 0, 0, 0], fake[:, 0, 0, 0] = torch.tensor([4.0, 3.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])
    share = torch.tensor([0.25, 0.5, 0.9])[:, None, None, None]
    found = gradient_penalty(lambda image: image.square().sum((1, 2, 3)) / 2, real, fake, share)
    assert found.item() == pytest.approx(((3.0 - 1) ** 2 + (2.0 - 1) ** 2 + (2.0 - 1) ** 2) / 3)


def test_the_penalty_trains_the_critic() -> None:
    """d/dw of (|w| - 1)^2 is 2 (|w| - 1) w / |w|."""
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    real = torch.rand(2, 1, 1, 2)
    gradient_penalty(lambda image: (image.flatten(1) * weight).sum(1), real, real + 1, torch.rand(2, 1, 1, 1)).backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == pytest.approx([2 * 4 * 0.6, 2 * 4 * 0.8])


def test_the_losses_of_the_gan_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, images = small(critic_steps=1, penalty=7.0), phantoms(SPEC, 4, seed=1)
    fake = 2 * phantoms(SPEC, 4, seed=2) - 1
    monkeypatch.setattr(detector, "draw", lambda count: fake)
    followed: dict[str, float] = {}
    losses = detector.phases()[0].step(Batch(images), lambda loss, name: followed.update({name: float(loss.detach())}))
    with torch.no_grad():
        of_real, of_fake = detector.critic(2 * images - 1).mean().item(), detector.critic(fake).mean().item()
    assert followed["critic"] == pytest.approx(of_fake - of_real + 7 * losses["penalty"].item(), rel=1e-4, abs=1e-6)
    assert followed["generator"] == pytest.approx(-of_fake, rel=1e-4, abs=1e-6)


def test_the_generator_waits_for_five_steps_of_the_critic_across_epochs_and_restarts() -> None:
    detector, images = small(), phantoms(SPEC, 2, seed=1)
    order: list[str] = []

    def update(loss: Tensor, name: str) -> None:
        order.append(name)

    phase = detector.phases()[0]
    phase.begin()
    for _ in range(7):
        phase.step(Batch(images), update)
    resumed = small()
    again = resumed.phases()[0]
    again.begin()
    resumed.load_state_dict(detector.state_dict())
    for _ in range(4):
        again.step(Batch(images), update)
    assert order == (["critic"] * 5 + ["generator"]) * 2 + ["critic"]
    assert "critic_steps_" in detector.state_dict()


def test_the_encoder_phase_leaves_the_gan_as_it_is() -> None:
    detector, images = small(), phantoms(SPEC, 8, seed=1)
    encoder = detector.phases()[1]
    detector.train()
    encoder.begin()
    before = {name: value.clone() for name, value in detector.state_dict().items() if name.startswith(("generator", "critic"))}
    assert before

    def update(loss: Tensor, name: str) -> None:
        encoder.optimizers[name].zero_grad()
        loss.backward()
        encoder.optimizers[name].step()

    first = detector.encoder[0][0].weight.detach().clone()
    encoder.step(Batch(images), update)
    assert not torch.equal(detector.encoder[0][0].weight, first)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items() if name in before)


def test_score_by_hand() -> None:
    detector = Training(1).fit(small(kappa=0.5), phantoms(SPEC, 16, seed=1))
    images = phantoms(SPEC, 2, seed=2)
    with torch.no_grad():
        x = 2 * images - 1
        code = detector.encoder(x)
        drawing = detector.generator(code)
        pixels = ((x - drawing) ** 2).mean((1, 2, 3))
        of_features = ((detector.critic.features(x) - detector.critic.features(drawing)) ** 2).mean(1)
        codes = ((code - detector.encoder(drawing)) ** 2).mean(1)
        loss = detector.phases()[1].validate(Batch(images))
    assert code.abs().max() <= 1
    scores = detector.score(images)
    assert scores.image.numpy() == pytest.approx((pixels + 0.5 * of_features).numpy(), rel=1e-4)
    assert scores.parts["code"].numpy() == pytest.approx(codes.numpy(), rel=1e-3, abs=1e-6)
    assert scores.map.numpy() == pytest.approx(((x - drawing).abs() / 2).numpy(), abs=1e-5)
    assert loss.numpy() == pytest.approx(scores.image.numpy(), rel=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 128), (96, 96), (512, 512)])
def test_other_sizes_are_refused_with_those_that_work(height: int, width: int) -> None:
    with pytest.raises(MedoodError, match=f"a side of 64, 128 or 256 pixels, such as .*, found {height} x {width}"):
        FAnoGAN(ImageSpec(1, height, width))
