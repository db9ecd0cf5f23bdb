"""Bands of curves, against scikit-learn's curves of resamples drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from medood.metrics.bands import precision_band, roc_band
from medood.metrics.intervals import GroupBootstrap

_RANDOM = np.random.default_rng(3)
GROUPS = np.repeat(np.arange(40), 2)
LABELS = (GROUPS % 4 == 0).astype(int)
SCORES = np.round(_RANDOM.normal(LABELS, 1.0), 1)  # with ties
RESAMPLES = 60


def repeated() -> list[np.ndarray]:
    """The rows of each resample, by number, as often as they were drawn."""
    bootstrap = GroupBootstrap(GROUPS, LABELS, resamples=RESAMPLES, seed=1)
    drawn = bootstrap.draws(lambda weights: {"times": weights})["times"]
    return [np.repeat(np.arange(len(GROUPS)), times) for times in drawn]


def test_the_precision_band_is_that_of_a_loop_over_resampled_patients() -> None:
    found = precision_band(SCORES, LABELS, GroupBootstrap(GROUPS, LABELS, resamples=RESAMPLES, seed=1))
    curves = []
    for rows in repeated():
        precision, recall, _ = precision_recall_curve(LABELS[rows], SCORES[rows])
        falling = precision[:-1][::-1], recall[:-1][::-1]  # from the highest threshold, without scikit-learn's own point at recall 0
        curves.append([next(p for p, r in zip(*falling, strict=True) if r > 0 and r >= wanted - 1e-9) for wanted in np.linspace(0, 1, 101)])
    expected = np.quantile(curves, (0.025, 0.975), axis=0)
    np.testing.assert_allclose([found.low, found.high], expected, atol=1e-9)
    assert (found.high - found.low).max() > 0.2


def test_the_roc_band_is_that_of_a_loop_over_resampled_patients() -> None:
    found = roc_band(SCORES, LABELS, GroupBootstrap(GROUPS, LABELS, resamples=RESAMPLES, seed=1))
    curves = [roc_curve(LABELS[rows], SCORES[rows], drop_intermediate=False)[:2] for rows in repeated()]
    expected = np.quantile([np.interp(found.x, fpr, tpr) for fpr, tpr in curves], (0.025, 0.975), axis=0)
    np.testing.assert_allclose([found.low, found.high], expected, atol=1e-9)


@pytest.mark.parametrize("band", [precision_band, roc_band])
def test_too_few_patients_have_no_band(band) -> None:
    two = np.append(np.zeros(38, int), [1, 1])
    assert band(np.arange(40.0), two, GroupBootstrap(np.arange(40), two)) is None
