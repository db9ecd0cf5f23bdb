"""Quantiles found without putting everything in order are those of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from medood.core.quantiles import of_sorted, quantiles

SHARES = (0.0, 0.005, 0.25, 0.5, 0.995, 1.0)
RANDOM = np.random.default_rng(0)
IMAGES = {
    "continuous": RANDOM.normal(size=(300, 300)),
    "whole numbers": np.rint(RANDOM.normal(0, 300, (4, 200, 200))).astype(np.float32),
    "much background": np.where(RANDOM.random((256, 256)) < 0.7, -1000, RANDOM.normal(size=(256, 256))).astype(np.float32),
    "two values": (RANDOM.random((200, 200)) < 0.25).astype(np.float32),
    "constant": np.full((200, 200), 3.5, np.float32),
    "ascending": np.arange(70_000.0),
    "the sample sees another half": np.where(np.arange(65_536) % 16 == 0, 5.0, RANDOM.random(65_536)),
    "small": RANDOM.random((5, 7)),
    "one value": np.array([2.0]),
}


@pytest.mark.parametrize("values", IMAGES.values(), ids=IMAGES)
def test_quantiles_are_exact(values: np.ndarray) -> None:
    assert quantiles(values, SHARES) == pytest.approx(np.quantile(values.astype(np.float64), SHARES).tolist(), rel=1e-12, abs=1e-12)


def test_quantiles_of_ordered_rows() -> None:
    rows = np.sort(RANDOM.random((3, 11)), axis=1)
    assert of_sorted(rows, SHARES) == pytest.approx(np.quantile(rows, SHARES, axis=1).T)
