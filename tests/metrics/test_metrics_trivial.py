"""Trivial features on images whose features are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medood.metrics.trivial import PLAIN_FEATURES, trivial_features


def test_grey_values_are_taken_over_the_foreground_only():
    image = np.full((1, 20, 20), 0.9, dtype=np.float32)
    body = np.zeros((20, 20), dtype=bool)
    body[5:15, 5:15] = True
    values = np.linspace(0, 0.5, 100, dtype=np.float32)
    image[0][body] = values
    found = trivial_features(image, body, 1234)
    assert tuple(found) == PLAIN_FEATURES
    assert found["plain_mean"] == pytest.approx(values.mean())
    assert found["plain_std"] == pytest.approx(values.std())
    assert found["plain_p99"] == pytest.approx(np.percentile(values, 99))
    assert found["plain_bytes"] == 1234
    assert found == trivial_features(image, body[None], 1234)
    assert trivial_features(image, None, 0)["plain_p99"] == pytest.approx(0.9)
    assert trivial_features(image, np.zeros_like(body), 0) == trivial_features(image, None, 0)


def test_channels_are_averaged():
    image = np.random.default_rng(0).random((3, 70, 50)).astype(np.float32)
    assert trivial_features(image, None, 1) == pytest.approx(trivial_features(image.mean(0, keepdims=True), None, 1))


def test_sharpness_is_the_mean_absolute_laplacian_after_area_averaging():
    image = np.random.default_rng(1).random((1, 128, 192)).astype(np.float32)
    small = image[0].reshape(64, 2, 64, 3).mean((1, 3))
    assert trivial_features(image, None, 1)["plain_sharpness"] == pytest.approx(np.abs(ndimage.laplace(small)).mean(), rel=1e-5)
    blurred = ndimage.gaussian_filter(image, (0, 2, 2))
    assert trivial_features(blurred, None, 1)["plain_sharpness"] < 0.3 * trivial_features(image, None, 1)["plain_sharpness"]
    assert trivial_features(np.full((1, 100, 30), 0.4), None, 1)["plain_sharpness"] == pytest.approx(0, abs=1e-7)
