"""The one-class SVM against scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, phantoms
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM as Reference
from torch import Tensor

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.one_class.one_class_svm import OneClassSVM

SPEC = ImageSpec(1, 64, 64, 0.0, 1.0, background=0.0)


def fitted(spec: ImageSpec = SPEC, images: int = 120, **parameters: Any) -> Any:
    return Training(1).fit(OneClassSVM(spec, **parameters), phantoms(spec, images, seed=1))


def small(images: Tensor) -> np.ndarray:
    """64 x 64 pixels to 32 x 32 by the mean of four, flat, in float64."""
    return images.numpy().astype(np.float64).reshape(len(images), -1, 32, 2, 32, 2).mean((3, 5)).reshape(len(images), -1)


@pytest.mark.parametrize("gamma", ["scale", "auto"])
@pytest.mark.parametrize("variance", [0.95, 1.0])
def test_scores_are_the_negative_decision_function(gamma: str, variance: float) -> None:
    train, test = phantoms(SPEC, 120, seed=1), torch.cat([phantoms(SPEC, 30, seed=2), torch.rand((10, *SPEC.shape))])
    detector = OneClassSVM(SPEC, gamma=gamma, variance=variance, nu=0.2)
    detector.solve(detector.pixels(train))  # in this order, on which libsvm's path depends
    detector.fitted_.fill_(True)
    features = [detector.features(detector.pixels(images)).float().numpy() for images in (train, test)]
    reference = Reference(nu=0.2, gamma=gamma).fit(features[0])
    expected = -reference.decision_function(features[1])
    assert np.abs(detector.score(test).image.numpy() - expected).max() < 1e-5
    assert (expected[30:] > expected[:30].max()).all()


@pytest.mark.parametrize("scaling", ["range", "standard"])
def test_features_are_those_of_scaling_and_pca(scaling: str) -> None:
    """Up to a shift and the signs of the components, which leave the distances as they are; and the SVM sees nothing else."""
    spec = ImageSpec(1, 64, 64, -1.0, 1.0)
    detector, train, test = fitted(spec, scaling=scaling), phantoms(spec, 120, seed=1), phantoms(spec, 20, seed=2)
    pixels, others = (small(train) + 1) / 2, (small(test) + 1) / 2
    if scaling == "standard":
        pixels[:, pixels.std(0) < 1e-7] = pixels[0, pixels.std(0) < 1e-7]
        scaler = StandardScaler().fit(pixels)
        pixels, others = scaler.transform(pixels), scaler.transform(others)
    pca = PCA(0.95, svd_solver="full").fit(pixels)
    expected = euclidean_distances(pca.transform(others))
    found = euclidean_distances(detector.features(detector.pixels(test)).numpy())
    assert detector.components_.shape == (1024, pca.n_components_)
    # scikit-learn divides by the deviation with n, torch with n - 1
    assert found * (np.sqrt(120 / 119) if scaling == "standard" else 1) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_every_pair_of_other_settings_is_a_part_that_says_what_a_machine_of_its_own_would() -> None:
    detector = fitted(other_nus=(0.1, 0.5), other_gammas=(0.01, 0.5), nu=0.3)
    test = torch.cat([phantoms(SPEC, 10, seed=2), torch.rand((5, *SPEC.shape))])
    scores = detector.score(test)
    assert list(scores.parts) == ["nu_0.1_gamma_0.01", "nu_0.1_gamma_0.5", "nu_0.5_gamma_0.01", "nu_0.5_gamma_0.5"]
    for nu, gamma in ((0.1, 0.01), (0.5, 0.5)):
        alone = fitted(nu=nu, gamma=gamma).score(test).image
        assert scores.parts[f"nu_{nu:g}_gamma_{gamma:g}"].numpy() == pytest.approx(alone.numpy(), abs=1e-5)
    assert scores.image.numpy() == pytest.approx(fitted(nu=0.3).score(test).image.numpy(), abs=1e-5)


def test_nu_bounds_the_share_outside() -> None:
    detector = fitted(images=300, nu=0.2, variance=1.0)
    outside = (detector.score(phantoms(SPEC, 300, seed=1)).image > 1e-4).float().mean()
    assert 0.12 < outside <= 0.2 + 0.01


def test_no_more_than_most_are_fitted_and_the_seed_chooses_them() -> None:
    chosen = []
    for seed in (0, 0, 1):
        detector = OneClassSVM(SPEC, most=40, seed=seed)
        (phase,) = detector.phases()
        phase.begin()
        for part in phantoms(SPEC, 200, seed=1).split(16):
            phase.step(Batch(part), lambda loss, name: None)
            assert sum(map(len, phase.choice.rows)) <= 80 + 16
        phase.finish()
        chosen.append(phase.choice.made())
        given = detector.pixels(phantoms(SPEC, 200, seed=1))
        numbers = torch.cdist(chosen[-1], given).argmin(1)
        assert len(numbers.unique()) == 40
        assert numbers.min() < 40
        assert numbers.max() >= 160
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])


def test_crops_are_scored_by_themselves_and_the_top_two_make_the_image() -> None:
    detector = fitted(input="crop32", variance=1.0, top_crops=2)
    image = phantoms(SPEC, 1, seed=3)
    image[0, 0, 30:36, 30:36] = 0.9
    scores = detector.score(image)
    body = (image[0, 0] != 0).float()
    assert scores.patches.shape == (1, 1, 3, 3)
    counted: list[float] = []
    for i in range(3):
        for j in range(3):
            place = slice(16 * i, 16 * i + 32), slice(16 * j, 16 * j + 32)
            if body[place].mean() >= 0.5:
                counted.append(float(detector.decide(image[0, 0][place].reshape(1, -1))[0, 0]))
                assert scores.patches[0, 0, i, j] == pytest.approx(counted[-1], abs=1e-5)
    top = sorted(counted, reverse=True)
    assert scores.image.item() == pytest.approx(sum(top[:2]) / 2, abs=1e-5)
    assert scores.parts["highest_crop"].item() == pytest.approx(top[0], abs=1e-5)
    assert scores.parts["mean_crop"].item() == pytest.approx(sum(top) / len(top), abs=1e-5)
    assert scores.map[0, 0, 0, 0] == scores.patches[0, 0, 0, 0]
    assert scores.map[0, 0, 20, 5] == pytest.approx(float(scores.patches[0, 0, :2, 0].mean()), abs=1e-5)


def test_crops_with_too_little_body_do_not_count() -> None:
    detector = fitted(input="crop32", min_foreground=0.9)
    lowest = float(detector.offset_ - detector.duals_.sum())
    image = phantoms(SPEC, 2, seed=3)
    image[1] = 0.0
    image[1, 0, :24, :24] = 1.0  # odd, but fills no crop
    scores = detector.score(image)
    assert float(scores.patches[0, 0, 1, 1]) > lowest
    assert scores.patches[0, 0, 0, 0] == pytest.approx(lowest)
    assert scores.image[1] == pytest.approx(lowest)
    assert (scores.map[1] == scores.map[1, 0, 0, 0]).all()


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(TrainingError, match="min_foreground"):
        Training(1).fit(OneClassSVM(SPEC, input="crop32"), torch.zeros((4, 1, 64, 64)))
    with pytest.raises(TrainingError, match="the same"):
        Training(1).fit(OneClassSVM(SPEC), torch.full((4, 1, 64, 64), 0.5))


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ((64, 64), {"nu": 0.0}),
        ((64, 64), {"variance": 0.0}),
        ((16, 64), {"input": "crop32"}),
        ((40, 64), {"input": "crop32"}),
        ((64, 64), {"input": "crop32", "other_nus": (0.1,), "other_gammas": (1.0,)}),
    ],
)
def test_impossible_settings_are_refused(shape: tuple[int, int], parameters: dict[str, Any]) -> None:
    with pytest.raises(MedoodError, match="OneClassSVM"):
        OneClassSVM(ImageSpec(1, *shape), **parameters)
