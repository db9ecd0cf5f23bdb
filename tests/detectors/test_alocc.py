"""ALOCC's networks against the published sizes, its losses and score by hand, and clean images wherever the original feeds noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor, nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.adversarial.alocc import ALOCC

SPEC = ImageSpec(1, 32, 32)


def small(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    return build(lambda: ALOCC(spec, **({"refiner_width": 4, "discriminator_width": 2} | parameters)))


def test_the_networks_have_the_known_sizes() -> None:
    with torch.device("meta"):
        detector = ALOCC(ImageSpec(1, 256, 256))
        image = torch.zeros(2, 1, 256, 256)
        assert detector.refiner(image).shape == image.shape
        assert detector.discriminator(image).shape == (2, 1)
    layers = [m for m in detector.refiner if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert [m.out_channels for m in layers] == [32, 64, 128, 32, 16, 1]
    assert all(m.kernel_size == (5, 5) and m.stride == (2, 2) for m in layers)
    assert [m.out_channels for m in detector.discriminator if isinstance(m, nn.Conv2d)] == [16, 32, 64, 128]
    assert detector.discriminator[-1].in_features == 32768
    assert sum(p.numel() for p in detector.refiner.parameters()) / 1e6 == pytest.approx(0.37, abs=0.005)
    assert sum(p.numel() for p in detector.discriminator.parameters()) / 1e6 == pytest.approx(0.30, abs=0.005)


def probability(logits: Tensor) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.detach().numpy().astype(float).ravel()))


def test_score_parts_and_map_by_hand() -> None:
    spec = ImageSpec(3, 32, 48, 0.0, 255.0)
    detector = Training(2).fit(small(spec), phantoms(spec, 32, seed=1))
    images = phantoms(spec, 3, seed=2)
    x = images / 127.5 - 1
    with torch.no_grad():
        refined = detector.refiner(x)
        of_refined, of_original = probability(detector.discriminator(refined)), probability(detector.discriminator(x))
    scores = detector.score(images)
    assert scores.image.numpy() == pytest.approx(np.log(1 - of_refined) - np.log(of_refined), rel=1e-3, abs=1e-4)
    assert scores.parts["unreal_refined"].numpy() == pytest.approx(1 - of_refined, abs=1e-5)
    assert scores.parts["unreal_original"].numpy() == pytest.approx(1 - of_original, abs=1e-5)
    assert scores.parts["mse"].numpy() == pytest.approx((127.5 * (x - refined)).square().mean((1, 2, 3)).numpy(), rel=1e-4)
    assert scores.map.numpy() == pytest.approx((127.5 * (x - refined)).abs().mean(1, keepdim=True).numpy(), abs=1e-3)


def test_scores_go_on_where_probabilities_have_ended() -> None:
    detector = small().eval()
    detector.fitted_.fill_(True)
    with torch.no_grad():
        detector.discriminator[-1].bias.fill_(-200.0)
    sure = detector.score(phantoms(SPEC, 2, seed=2))
    with torch.no_grad():
        detector.discriminator[-1].bias.fill_(-300.0)
    surer = detector.score(phantoms(SPEC, 2, seed=2))
    assert (surer.image > sure.image + 99).all()  # less real, higher score
    assert torch.isfinite(surer.image).all()


def test_the_losses_by_hand() -> None:
    detector = small(noise=0.3, reconstruction_weight=5.0, refiner_updates=3).eval()
    image = phantoms(SPEC, 4, seed=2)
    followed: list[tuple[str, float]] = []
    torch.manual_seed(7)
    detector.phases()[0].step(Batch(image), lambda loss, name: followed.append((name, float(loss.detach()))))
    torch.manual_seed(7)
    x = 2 * image - 1
    with torch.no_grad():
        refined = detector.refiner(x + 0.3 * torch.randn_like(x))
        p_real, p_fake = probability(detector.discriminator(x)), probability(detector.discriminator(refined))
    judge = -np.log(p_real).mean() - np.log(1 - p_fake).mean()
    refine = 5 * ((refined - x) ** 2).mean().item() - np.log(p_fake).mean()
    assert [name for name, _ in followed] == ["discriminator", "refiner", "refiner", "refiner"]
    assert [value for _, value in followed] == pytest.approx([judge, refine, refine, refine], rel=1e-4)


def test_the_noise_is_that_of_the_networks_range_and_only_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ImageSpec(1, 64, 64, 0.0, 255.0)
    detector, image = small(spec, noise=0.155), phantoms(ImageSpec(1, 64, 64, 0.0, 255.0), 8, seed=2)
    seen: list[Tensor] = []
    forward = detector.refiner.forward
    monkeypatch.setattr(detector.refiner, "forward", lambda given: (seen.append(given), forward(given))[1])
    detector.phases()[0].step(Batch(image), lambda loss, name: None)
    assert (seen[0] - (image / 127.5 - 1)).std().item() == pytest.approx(0.155, rel=0.03)
    assert torch.equal(seen[0], seen[1])
    seen.clear()
    detector.fitted_.fill_(True)
    detector.score(image)
    assert torch.allclose(seen[0], image / 127.5 - 1, atol=1e-6)
    with torch.no_grad():
        validation = detector.eval().phases()[0].validate(Batch(image))
    assert validation.numpy() == pytest.approx(detector.score(image).parts["mse"].numpy() / 127.5**2, rel=1e-4)


def test_scoring_leaves_the_statistics_of_batch_norm() -> None:
    detector = Training(1).fit(small(), phantoms(SPEC, 16, seed=1))
    detector.train()
    before = {name: value.clone() for name, value in detector.named_buffers()}
    one, beside = detector.score(phantoms(SPEC, 1, seed=2)).image, torch.cat([phantoms(SPEC, 1, seed=2), torch.ones(5, 1, 32, 32)])
    assert torch.allclose(detector.score(beside).image[:1], one, rtol=1e-3, atol=1e-5)
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in detector.named_buffers())


def test_other_sizes_are_refused() -> None:
    with pytest.raises(MedoodError, match="multiples of 16"):
        ALOCC(ImageSpec(1, 40, 64))
