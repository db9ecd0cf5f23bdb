"""How well scores rank anomalous above normal.

Conventions, everywhere in medood: label 1 is anomalous and is the positive class, a higher score is more anomalous, and a row is called
anomalous when its score lies strictly above the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medood.core.errors import MedoodError


@dataclass(frozen=True, eq=False)
class Curve:
    """What every threshold would flag: the one thing that all ranking numbers are computed from.

    threshold  (K,) descending; the first flags nothing, the last flags every row
    tp, fp     (..., K) weight of the anomalous and of the normal rows whose score lies above the threshold; leading axes are resamples
    """

    threshold: np.ndarray
    tp: np.ndarray
    fp: np.ndarray

    @property
    def tpr(self) -> np.ndarray:
        """(..., K) true-positive rate (sensitivity); NaN in a resample without anomalous rows."""
        return _ratio(self.tp, self.tp[..., -1:])

    @property
    def fpr(self) -> np.ndarray:
        """(..., K) false-positive rate (1 - specificity); NaN in a resample without normal rows."""
        return _ratio(self.fp, self.fp[..., -1:])


def curve(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Curve:
    """The curve of n scores; equal scores are flagged together, never one before the other.

    `labels` (n,) are 0 or 1; `weights` (..., n) says how often each row counts, one row of weights per resample.
    Raises MedoodError when a score is not finite or when one of the two classes is absent.
    """
    scores, labels = checked(scores, labels)
    order = np.argsort(-scores)
    ordered = scores[order]
    group_ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    counts = np.ones(len(scores)) if weights is None else np.asarray(weights)[..., order]
    total = np.cumsum(counts, axis=-1)[..., group_ends]
    tp = np.cumsum(counts * (labels[order] == 1), axis=-1)[..., group_ends]
    below_all = np.nextafter(ordered[-1], -np.inf)
    return Curve(np.append(ordered[np.append(0, group_ends[:-1] + 1)], below_all), _from_zero(tp), _from_zero(total - tp))


def checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores as float64 and labels as int, or MedoodError: lengths differ, a score is not finite, a class is absent."""
    scores, labels = finite(scores), np.asarray(labels)
    if scores.shape != labels.shape:
        raise MedoodError(f"Every score needs one label: found {scores.size} scores and {labels.size} labels.")
    if not np.isin(labels, (0, 1)).all():
        raise MedoodError("Labels must be 0 (normal) or 1 (anomalous); leave rows of unknown label out.")
    anomalous = int(np.count_nonzero(labels))
    if anomalous in (0, len(labels)):
        missing = "anomalous" if anomalous == 0 else "normal"
        raise MedoodError(
            f"A ranking needs normal and anomalous rows, but none of the {len(labels)} rows is {missing}: add {missing} images."
        )
    return scores, labels.astype(int)


def finite(scores: np.ndarray) -> np.ndarray:
    """Scores (n,) as float64; raises MedoodError when one is NaN or infinite."""
    scores = np.asarray(scores, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise MedoodError(
            f"{bad.size} of {scores.size} scores are not finite numbers (the first is {scores.ravel()[bad[0]]} at row {bad[0]}): "
            "leave those rows out, or look for a training run that diverged."
        )
    return scores


def auroc(c: Curve) -> np.ndarray:
    """(...,) probability that an anomalous row scores above a normal one, ties counting one half."""
    pairs = _rise(c.tp) * (c.fp[..., -1:] - (c.fp[..., 1:] + c.fp[..., :-1]) / 2)
    return _ratio(pairs.sum(-1), c.tp[..., -1] * c.fp[..., -1])


def average_precision(c: Curve) -> np.ndarray:
    """(...,) mean precision over the anomalous rows, by steps: no interpolation between thresholds."""
    flagged = np.maximum(c.tp + c.fp, np.finfo(float).tiny)[..., 1:]
    return _ratio((_rise(c.tp) * c.tp[..., 1:] / flagged).sum(-1), c.tp[..., -1])


def precision_recall(c: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision (n,) of one curve where another anomalous row is found, from recall 0: average precision is the area below, as a
    precision holds for the recalls up to its own. Empty without anomalous rows."""
    found = np.flatnonzero(_rise(c.tp)) + 1
    if not len(found):
        return np.empty(0), np.empty(0)
    precision = c.tp[found] / (c.tp + c.fp)[found]
    return np.append(0.0, c.tpr[found]), np.append(precision[0], precision)


def fpr_at_tpr(c: Curve, tpr: float = 0.95) -> np.ndarray:
    """(...,) the smallest false-positive rate of a threshold that finds at least the share `tpr` of the anomalous rows."""
    enough = c.tp >= tpr * c.tp[..., -1:] * (1 - 1e-12)
    first = np.argmax(enough, axis=-1)[..., None]
    return np.where(c.tp[..., -1] > 0, np.take_along_axis(c.fpr, first, axis=-1)[..., 0], np.nan)


@dataclass(frozen=True, eq=False)
class OracleThreshold:
    """A threshold chosen on the very labels it is judged by: optimistic, for comparison with publications only."""

    threshold: np.ndarray
    tpr: np.ndarray
    fpr: np.ndarray


def oracle_gmean(c: Curve) -> OracleThreshold:
    """The threshold with the largest geometric mean sqrt(TPR * (1 - FPR)); of equal ones the highest threshold."""
    tpr, fpr = c.tpr, c.fpr
    best = np.argmax(tpr * (1 - fpr), axis=-1)[..., None]
    picked = (np.take_along_axis(rate, best, axis=-1)[..., 0] for rate in (tpr, fpr))
    return OracleThreshold(c.threshold[best[..., 0]], *picked)


def oracle_dice(c: Curve) -> tuple[np.ndarray, np.ndarray]:
    """The largest Dice coefficient over all thresholds, and the threshold: an oracle as well. Both (...,)."""
    dice = _ratio(2 * c.tp, c.tp[..., -1:] + c.tp + c.fp)
    best = np.argmax(dice, axis=-1)[..., None]
    return np.take_along_axis(dice, best, axis=-1)[..., 0], c.threshold[best[..., 0]]


def flagged_share(flagged: np.ndarray, among: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(...,) share of the rows `among` (n,) bool that are `flagged` (n,) bool: the TPR among anomalous, the FPR among normal rows.

    NaN when no such row has weight. `weights` (..., n) as for `curve`.
    """
    counts = np.ones(len(flagged)) if weights is None else np.asarray(weights)
    return _ratio(counts @ (flagged & among).astype(float), counts @ np.asarray(among, dtype=float))


def _rise(cumulative: np.ndarray) -> np.ndarray:
    return np.diff(cumulative, axis=-1)


def _from_zero(cumulative: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(cumulative[..., :1]), cumulative], axis=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where the whole is zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
