"""Confidence bands of curves, from resampled patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medood.metrics.intervals import LEVELS, GroupBootstrap
from medood.metrics.ranking import Curve, curve, precision_recall


@dataclass(frozen=True, eq=False)
class Band:
    """Where 95 % of the curves of resampled patients lie at each `x`, point by point: `low` and `high`, (n,) each."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray


def roc_band(scores: np.ndarray, labels: np.ndarray, bootstrap: GroupBootstrap) -> Band | None:
    """The band of the true-positive rate at 101 false-positive rates from 0 to 1; None where there are too few patients for an interval.

    Vertical averaging (Fawcett, Pattern Recognition Letters 27, 2006). As the percentile intervals, it cannot see beyond the data: where
    scores separate the classes perfectly it has no width.
    """
    if bootstrap.reason:
        return None
    rates = np.linspace(0, 1, 101)

    def statistic(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        c = curve(scores, labels, weights)
        return {"tpr": np.stack([np.interp(rates, fpr, tpr) for fpr, tpr in zip(c.fpr, c.tpr, strict=True)])}

    return band(rates, bootstrap.draws(statistic)["tpr"])


def precision_band(scores: np.ndarray, labels: np.ndarray, bootstrap: GroupBootstrap) -> Band | None:
    """The band of the precision at 101 recalls from 0 to 1; None where there are too few patients for an interval.

    A precision is that of the highest threshold that finds as much, as in average precision; nothing is interpolated, which would flatter
    (Davis and Goadrich, ICML 2006).
    """
    if bootstrap.reason:
        return None
    recalls = np.linspace(0, 1, 101)

    def statistic(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        c = curve(scores, labels, weights)
        return {"precision": np.stack([_precision_at(recalls, Curve(c.threshold, tp, fp)) for tp, fp in zip(c.tp, c.fp, strict=True)])}

    return band(recalls, bootstrap.draws(statistic)["precision"])


def _precision_at(recalls: np.ndarray, c: Curve) -> np.ndarray:
    """The precision of the highest threshold that finds as much; NaN without anomalous rows."""
    recall, precision = precision_recall(c)
    return precision[np.searchsorted(recall * (1 + 1e-12), recalls)] if len(recall) else np.full(len(recalls), np.nan)


def band(x: np.ndarray, draws: np.ndarray) -> Band:
    """Of curves `draws` (resamples, n) at `x` (n,)."""
    low, high = np.nanquantile(draws, LEVELS, axis=0)
    return Band(x, low, high)
