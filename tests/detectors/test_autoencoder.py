"""The autoencoder's scores against their definitions, and its size against the published one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms
from skimage.metrics import structural_similarity
from torch.nn.functional import interpolate

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.reconstruction.autoencoder import Autoencoder

UNIT, SIGNED = ImageSpec(1, 64, 64), ImageSpec(1, 64, 64, -1.0, 1.0)


def ready(spec: ImageSpec = UNIT, **parameters: Any) -> Any:
    """With weights as they come, but statistics of batch norm that make something of an image."""
    detector = build(lambda: Autoencoder(spec, **({"width": 4} | parameters)))
    return Training(1).fit(detector, phantoms(spec, 32, seed=1))


def test_squared_and_absolute_errors_by_hand() -> None:
    spec = ImageSpec(3, 64, 96)
    detector, images = ready(spec), phantoms(spec, 3, seed=2)
    with torch.no_grad():
        difference = (images - detector.network(images)).numpy()
    scores = detector.score(images)
    assert scores.map[:, 0].numpy() == pytest.approx((difference**2).mean(1), abs=1e-6)
    assert scores.image.numpy() == pytest.approx((difference**2).mean((1, 2, 3)), abs=1e-6)
    assert scores.parts["l1"].numpy() == pytest.approx(np.abs(difference).mean((1, 2, 3)), abs=1e-6)
    assert torch.equal(scores.parts["mse"], scores.image)


@pytest.mark.parametrize("architecture", ["cvad", "medianomaly"])
def test_the_ssim_map_is_that_of_scikit_image(architecture: str) -> None:
    spec = UNIT if architecture == "cvad" else SIGNED
    detector, images = ready(spec, error="ssim", architecture=architecture), phantoms(spec, 2, seed=2)
    with torch.no_grad():
        rebuilt = detector.network(images)
    maps = []
    for image, other in zip(images[:, 0].double().numpy() - spec.low, rebuilt[:, 0].double().numpy() - spec.low, strict=True):
        options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
        maps.append(structural_similarity(image, other, data_range=spec.high - spec.low, **options)[1][5:-5, 5:-5])
    inside = (1 - torch.from_numpy(np.stack(maps))[:, None]).clamp(0, 1)
    expected = interpolate(inside, (64, 64), mode="bilinear", align_corners=False)
    scores = detector.score(images)
    assert (scores.map - expected).abs().max() < 1e-3
    assert scores.image.numpy() == pytest.approx(expected.mean((1, 2, 3)).numpy(), abs=1e-4)


def test_the_gradient_map_is_the_derivative_of_each_images_error() -> None:
    detector, images = ready(error="gradient").double(), phantoms(UNIT, 2, seed=2).double()
    heat = detector.score(images).map
    for row, column in ((32, 32), (20, 41), (3, 3)):
        step = torch.zeros_like(images)
        step[:, :, row, column] = 1e-6
        above, below = (detector.score(images + sign * step).parts["mse"] for sign in (1, -1))
        assert heat[:, 0, row, column].numpy() == pytest.approx((above - below).abs().numpy() / 2e-6, rel=1e-3, abs=1e-9)
    assert detector.score(images).image.numpy() == pytest.approx(heat.mean((1, 2, 3)).numpy())
    assert not images.requires_grad


@pytest.mark.parametrize("loss", ["mse", "l1", "ssim"])
def test_it_learns_what_it_is_told_to(loss: str) -> None:
    training = Training(12, batch_size=8)
    detector: Any = build(lambda: Autoencoder(UNIT, width=4, loss=loss, error=loss, learning_rate=5e-3))
    images = phantoms(UNIT, 32, seed=1)
    training.fit(detector, images)
    first, last = training.losses[0]["loss"], training.losses[-1]["loss"]
    assert last < 0.7 * first
    with torch.no_grad():
        validation = detector.phases()[0].validate(training.batch(images))
    assert validation.numpy() == pytest.approx(detector.score(images).image.numpy(), rel=1e-5)


@pytest.mark.parametrize(("latent", "millions"), [(16, 1.94), (512, 18.19)])
def test_the_network_of_cvad_has_the_known_size(latent: int, millions: float) -> None:
    detector = Autoencoder(ImageSpec(1, 256, 256), latent=latent)
    assert sum(p.numel() for p in detector.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_only_the_bottleneck_joins_encoder_and_decoder() -> None:
    detector = ready(latent=3)
    codes: list[torch.Tensor] = []
    detector.network[2].register_forward_hook(lambda module, inputs, output: codes.append(output))
    detector.score(phantoms(UNIT, 2, seed=3))
    assert codes[0].shape == (2, 3)
    assert torch.equal(detector.network[3:](codes[0]), detector.network(phantoms(UNIT, 2, seed=3)))


@pytest.mark.parametrize(
    ("spec", "architecture", "words"),
    [
        (SIGNED, "cvad", "range: \\[0, 1\\]"),
        (UNIT, "medianomaly", "range: \\[-1, 1\\]"),
        (ImageSpec(1, 48, 64), "cvad", "multiples of 32"),
        (ImageSpec(1, 40, 64, -1.0, 1.0), "medianomaly", "multiples of 16"),
    ],
)
def test_specs_that_do_not_fit_are_refused(spec: ImageSpec, architecture: Any, words: str) -> None:
    with pytest.raises(MedoodError, match=words):
        Autoencoder(spec, architecture=architecture)
