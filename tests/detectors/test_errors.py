"""The four errors by which every detector that reconstructs can score, against scikit-image and definitions written out."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import build, extractor, phantoms, plant
from scipy.ndimage import median_filter
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from medood.core.detector import Detector, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.adversarial.ganomaly import GANomaly
from medood.nets.error_maps import Residuals
from medood.recipe import catalogue

SPEC = ImageSpec(1, 64, 64)
NETWORK = {"name": "efficientnet_lite0", "weights": "random", "size": (64, 64), "layers": (0, 2)}
GRADIENTS = {"name": "gradient_histograms", "size": (48, 48), "layers": (8,)}
ERRORS = ("mse", "l1", "ssim", "perceptual")
SMALL: dict[str, dict[str, Any]] = {
    "alocc": {"refiner_width": 4, "discriminator_width": 4},
    "autoencoder": {"width": 4},
    "cvad": {"width": 4, "latent": 8, "branch_width": 8},
    "dae": {"width": 8},
    "f_anogan": {"width": 2, "latent": 8},
    "ganomaly": {"width": 4},
    "patch_gan": {"width": 4, "discriminator_width": 4, "passes": 4, "blur": 0.0},
    "pch_vae": {"width": 4, "latent": 8, "branch_width": 8},
    "vae": {"width": 4},
}
CARDS = {name: card for name, card in catalogue.detectors().items() if "error" in card.parameters.model_fields}


def untrained(name: str, features: dict[str, Any] | None = NETWORK, **parameters: Any) -> Any:
    """A detector with its first weights, the same for the same name, that scores all the same."""
    on = [] if features is None else [extractor(SPEC, features)]
    detector = build(lambda: CARDS[name].load()(SPEC, *on, **(SMALL.get(name, {}) | parameters)))
    detector.fitted_.fill_(True)
    return detector


@cache
def images() -> Tensor:
    return phantoms(SPEC, 3, seed=2)


def rebuilt(detector: Any) -> Tensor:
    """What it makes of the images, before anything is cut off."""
    if type(detector).__name__ == "DAE":
        with torch.no_grad():
            return detector.eval().network(images())
    return list(detector.reconstructions(images()).values())[-1]


def by_definition(error: str, made: Tensor) -> np.ndarray:
    """(B, H, W): the error of the images, worked out without the code under test."""
    image, other = images()[:, 0].double().numpy(), made[:, 0].double().numpy()
    if error in ("mse", "l1"):
        return (image - other) ** 2 if error == "mse" else abs(image - other)
    if error == "ssim":
        options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True, "data_range": 1.0}
        pairs = zip(image, other, strict=True)
        inside = np.stack([1 - structural_similarity(one, two, **options)[1][5:-5, 5:-5] for one, two in pairs]).clip(0, 1)
        return interpolate(torch.from_numpy(inside)[:, None], (64, 64), mode="bilinear")[:, 0].numpy()
    network, layers = extractor(SPEC, NETWORK), []
    for first, second in zip(network(images()), network(made.clamp(0, 1)), strict=True):
        first, second = first.double().numpy(), second.double().numpy()
        cosine = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
        layers.append(interpolate(torch.from_numpy(2 - 2 * cosine)[:, None], (64, 64), mode="bilinear")[:, 0].numpy())
    return np.mean(layers, axis=0)


OWN = {"adgan", "blind_spot_vae", "cae_one_class_svm", "dagmm", "dsebm"}
"""Detectors that reconstruct, and score by something else, or by the very error that they search with."""


def test_every_detector_that_reconstructs_takes_the_errors() -> None:
    for name, card in catalogue.detectors().items():
        if name in OWN:
            continue
        fields = card.parameters.model_fields
        if card.load()._reconstructions is not Detector._reconstructions:
            assert {"error", "all_errors"} <= fields.keys(), name
            assert card.features == "optional", name
    assert SMALL.keys() <= CARDS.keys()


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("error", ERRORS)
def test_map_and_score_are_those_of_the_definition(name: str, error: str) -> None:
    features = NETWORK if error == "perceptual" else None
    calm = {"median": 0} if name == "dae" else {}
    detector = untrained(name, features, error=error, **calm)
    scores, expected = detector.score(images()), by_definition(error, rebuilt(detector))
    span = expected.max() - expected.min()
    assert span > 0
    assert abs(scores.map[:, 0].numpy() - expected).max() < 2e-3 * span + 1e-5
    if name == "dae":
        image_scores = np.percentile(expected, 99, axis=(1, 2))
    elif name == "patch_gan":
        top = avg_pool2d(torch.from_numpy(expected)[:, None], 8).flatten(1).topk(2).values.numpy()
        image_scores = 1.1 * top[:, 0] + top[:, 1]
    else:
        image_scores = expected.mean((1, 2))
    assert scores.image.numpy() == pytest.approx(image_scores, rel=3e-3)


@pytest.mark.parametrize("name", CARDS)
def test_all_errors_are_the_scores_that_each_would_give_and_change_no_score(name: str) -> None:
    every = untrained(name, all_errors=True)
    plain = untrained(name, None)
    every.load_state_dict(plain.state_dict())  # frozen features are no weights of the detector
    scores = every.score(images())
    assert torch.equal(scores.image, plain.score(images()).image)
    assert torch.equal(scores.map, plain.score(images()).map)
    for error in ERRORS:
        alone = untrained(name, NETWORK if error == "perceptual" else None, error=error)
        alone.load_state_dict(plain.state_dict())
        assert torch.equal(scores.parts[error], alone.score(images()).image), error


def test_the_median_of_the_dae_is_over_the_error_that_was_chosen() -> None:
    sharp, calm = (untrained("dae", None, error="mse", median=side).score(images()).map for side in (0, 5))
    inner = (slice(None), 0, slice(2, -2), slice(2, -2))
    assert calm[inner].numpy() == pytest.approx(median_filter(sharp.numpy(), (1, 1, 5, 5))[inner], abs=1e-6)


@pytest.mark.parametrize("features", [NETWORK, GRADIENTS], ids=lambda features: features["name"])
def test_what_is_perceived_is_nothing_of_equal_images_and_most_where_a_blob_was_planted(features: dict[str, Any]) -> None:
    residuals = Residuals(SPEC, "a detector", "perceptual", False, extractor(SPEC, features))
    assert not residuals.map("perceptual", images(), images().clone()).any()
    for kind in ("bright", "texture"):
        changed, lesion = plant(SPEC, images(), kind, seed=3)
        heat = residuals.map("perceptual", changed, images())
        assert heat.shape == lesion.shape
        assert heat[lesion].mean() > 3 * heat[~lesion].mean()
        assert roc_auc_score(lesion.flatten(), heat.flatten()) > 0.9
        assert (heat >= 0).all()
        assert (heat <= 4).all()


@pytest.mark.parametrize("name", CARDS)
def test_frozen_features_stay_as_they_are_and_nothing_trains_them(name: str) -> None:
    detector, fresh = untrained(name, error="perceptual"), extractor(SPEC, NETWORK)
    assert detector.state_dict().keys() == untrained(name, None).state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(detector.residuals.features.buffers(), fresh.buffers(), strict=True))
    assert not list(detector.residuals.features.parameters())
    detector.train()
    assert not any(part.training for part in detector.residuals.features.modules())


@pytest.mark.parametrize("name", CARDS)
def test_perceptual_without_features_says_what_to_write(name: str) -> None:
    with pytest.raises(MedoodError, match=r"add `features: \{name: efficientnet_lite0\}`"):
        untrained(name, None, error="perceptual")
    with pytest.raises(MedoodError, match="`features` serve"):
        untrained(name, NETWORK)


def test_vae_counts_the_error_where_its_score_does() -> None:
    by_ssim, loss = untrained("vae", None, error="ssim", score="elbo"), untrained("vae", None, score="elbo")
    assert torch.equal(by_ssim.score(images()).image, loss.score(images()).image)  # the loss stays the paper's
    assert torch.equal(by_ssim.score(images()).map, untrained("vae", None, error="ssim").score(images()).map)
    combined, slope = (untrained("vae", None, error="l1", score=score).score(images()).map for score in ("combi", "grad_kl"))
    torch.testing.assert_close(combined, slope * untrained("vae", None, error="l1").score(images()).map)


def test_pch_vae_counts_the_error_of_the_image_that_its_score_is_of() -> None:
    detector = untrained("pch_vae", None, error="l1", score="coarse")
    _, coarse, both = detector.reconstructions(images()).values()
    torch.testing.assert_close(detector.score(images()).map, (images() - coarse).abs())
    torch.testing.assert_close(untrained("pch_vae", None, error="l1").score(images()).map, (images() - both).abs())


def test_ssim_of_images_smaller_than_its_window_is_refused_before_training() -> None:
    for wanted in ({"error": "ssim"}, {"all_errors": True}):
        with pytest.raises(MedoodError, match="SSIM looks at 11 x 11 pixels, more than images of 8 x 8 have"):
            GANomaly(ImageSpec(1, 8, 8), width=2, **wanted)
    GANomaly(ImageSpec(1, 8, 8), width=2)
