"""The wrapper against PyOD and scikit-learn themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, extractor, phantoms
from scipy.spatial.distance import mahalanobis
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity, LocalOutlierFactor

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.density import pyod as wrapper
from medood.detectors.density.pyod import PyOD
from medood.features.grids import pooled
from medood.features.interface import Extractor
from medood.recipe.building import build_detector
from medood.recipe.loading import resolve

SPEC = ImageSpec(1, 64, 64, 0.0, 1.0, background=0.0)
TRAIN, TEST = phantoms(SPEC, 120, seed=1), torch.cat([phantoms(SPEC, 20, seed=2), torch.rand((5, *SPEC.shape))])


def fitted(**parameters: Any) -> PyOD:
    return Training(1).fit(PyOD(SPEC, **({"size": 16, "components": 8} | parameters)), TRAIN)  # type: ignore[return-value]


def small(images: torch.Tensor) -> np.ndarray:
    """64 x 64 pixels to 16 x 16 by the mean of sixteen, flat, in float64."""
    return images.numpy().astype(np.float64).reshape(len(images), 16, 4, 16, 4).mean((2, 4)).reshape(len(images), -1)


def projected(components: int = 8) -> tuple[np.ndarray, np.ndarray]:
    pca = PCA(components, svd_solver="full").fit(small(TRAIN))
    return pca.transform(small(TRAIN)), pca.transform(small(TEST))


def scores(detector: PyOD) -> np.ndarray:
    return detector.score(TEST).image.numpy()


def test_mahalanobis_and_error_are_those_of_scikit_learns_components() -> None:
    pca = PCA(8, svd_solver="full").fit(small(TRAIN))
    train, test = projected()
    inverse = np.linalg.inv(np.cov(train.T))
    expected = [mahalanobis(row, train.mean(0), inverse) for row in test]
    assert scores(fitted(method="pca_mahalanobis")) == pytest.approx(expected, rel=1e-2)
    error = ((small(TEST) - pca.inverse_transform(test)) ** 2).mean(1)
    assert scores(fitted(method="pca_error")) == pytest.approx(error, rel=1e-2)


def test_the_methods_are_pyods_on_the_principal_components() -> None:
    pytest.importorskip("pyod")
    from pyod.models.abod import ABOD
    from pyod.models.kde import KDE
    from pyod.models.mcd import MCD

    train, test = projected()
    for method, model in {"abod": ABOD(), "mcd": MCD(random_state=0), "kde": KDE(bandwidth=0.5)}.items():
        found = scores(fitted(method=method, bandwidth=0.5))
        assert spearmanr(found, model.fit(train).decision_function(test)).statistic > 0.97, method
    lof = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(train)
    assert scores(fitted(method="lof")) == pytest.approx(-lof.score_samples(test), rel=1e-3)
    few = LocalOutlierFactor(n_neighbors=7, novelty=True).fit(train)
    assert scores(fitted(method="lof", neighbours=7)) == pytest.approx(-few.score_samples(test), rel=1e-3)


def test_pyods_pca_and_a_bandwidth_of_one_are_distances_to_the_mean() -> None:
    pytest.importorskip("pyod")
    pixels = small(TRAIN)
    varying = pixels.std(0) > 1e-9
    standard = (small(TEST)[:, varying] - pixels[:, varying].mean(0)) / pixels[:, varying].std(0)
    to_mean = (standard**2).sum(1)[:20]
    assert spearmanr(scores(fitted(method="pca", components=0))[:20], to_mean).statistic > 0.9
    plain = ((small(TEST) - pixels.mean(0)) ** 2).sum(1)
    assert spearmanr(scores(fitted(method="kde", bandwidth=1.0, components=0))[:20], plain[:20]).statistic > 0.99


def on_features(**parameters: Any) -> PyOD:
    greys = extractor(SPEC, {"name": "grey_statistics", "layers": (4, 8)})
    return Training(1).fit(PyOD(SPEC, greys, **({"components": 8} | parameters)), TRAIN)  # type: ignore[return-value]


def described(detector: PyOD, images: torch.Tensor) -> np.ndarray:
    """Mean and maximum over the body of every channel, of which none may be blown up, in deviations of the training images."""
    rows, reference = (torch.cat(pooled(detector.features(given), given != 0), 1).double().numpy() for given in (images, TRAIN))
    deviation = reference.std(0, ddof=1)
    return (rows - reference.mean(0)) / np.maximum(deviation, 0.1 * deviation.mean())


def test_on_features_the_methods_see_their_means_and_maxima() -> None:
    pytest.importorskip("pyod")
    detector = on_features(method="lof")
    pca = PCA(8, svd_solver="full").fit(described(detector, TRAIN))
    train, test = (pca.transform(described(detector, images)) for images in (TRAIN, TEST))
    lof = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(train)
    assert scores(detector) == pytest.approx(-lof.score_samples(test), rel=1e-3)
    error = ((described(detector, TEST) - pca.inverse_transform(test)) ** 2).mean(1)
    assert scores(on_features(method="pca_error")) == pytest.approx(error, rel=1e-2)
    whole = LocalOutlierFactor(n_neighbors=20, novelty=True).fit(described(detector, TRAIN))
    assert scores(on_features(method="lof", components=0)) == pytest.approx(-whole.score_samples(described(detector, TEST)), rel=1e-3)


def test_a_recipe_may_name_features_for_it_or_not() -> None:
    text = {"source": {"name": "folder"}, "transforms": "grey_image", "detector": {"name": "pyod", "method": "pca_error"}}
    assert resolve(text, {}, "here").features is None
    assert resolve(text | {"features": {"name": "grey_statistics"}}, {}, "here").features["layers"] == [16]
    plain, named = (build_detector(resolve(text | more, {}, "here")) for more in ({}, {"features": {"name": "grey_statistics"}}))
    assert plain.features is None
    assert isinstance(named.features, Extractor)


def test_the_bandwidth_is_the_likeliest_for_other_images() -> None:
    pytest.importorskip("pyod")
    detector = fitted(method="kde")
    train, _ = projected()
    others = PCA(8, svd_solver="full").fit(small(TRAIN)).transform(small(phantoms(SPEC, 60, seed=5)))

    def likelihood(bandwidth: float) -> float:
        return float(KernelDensity(bandwidth=bandwidth).fit(train).score(others))

    chosen = float(detector.bandwidth_)
    assert likelihood(chosen) > max(likelihood(chosen * 2.5), likelihood(chosen / 2.5), likelihood(1.0))


def test_no_more_than_most_are_fitted_and_the_seed_chooses_them() -> None:
    kept = [fitted(method="pca_error", most=40, seed=seed).vectors_ for seed in (0, 0, 1)]
    assert kept[0].shape == (40, 8)
    assert torch.equal(kept[0], kept[1])
    assert not torch.allclose(kept[0], kept[2])


def test_training_images_and_copies_of_them_have_finite_scores() -> None:
    pytest.importorskip("pyod")
    images = TRAIN[:10].repeat(6, 1, 1, 1)
    for method in ("lof", "abod", "kde", "pca"):
        detector = Training(1).fit(PyOD(SPEC, method=method, components=4), images)  # type: ignore[arg-type]
        assert torch.isfinite(detector.score(images[:10]).image).all(), method


def test_a_robust_covariance_takes_no_more_components_than_the_images_allow() -> None:
    pytest.importorskip("pyod")
    assert fitted(method="mcd", components=60).vectors_.shape == (120, 23)
    assert fitted(method="mcd", components=8).vectors_.shape == (120, 8)


def test_images_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(TrainingError, match="the same"):
        Training(1).fit(PyOD(SPEC, method="pca_error"), TRAIN[:1].repeat(9, 1, 1, 1))


def test_without_pyod_its_methods_say_what_to_install_and_the_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapper, "find_spec", lambda name: None)
    with pytest.raises(MedoodError, match=r"pip install medood\[pyod\]"):
        PyOD(SPEC)
    assert np.isfinite(scores(fitted(method="pca_mahalanobis"))).all()
    with pytest.raises(MedoodError, match="components"):
        PyOD(SPEC, method="pca_error", components=0)
