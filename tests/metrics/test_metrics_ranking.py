"""Ranking numbers against scikit-learn, brute force, and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn

from medood.core.errors import MedoodError
from medood.metrics.ranking import auroc, average_precision, curve, finite, flagged_share, fpr_at_tpr, oracle_dice, oracle_gmean


def _cases():
    """Scores and labels, with and without ties."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        labels = rng.random(200) < 0.3
        scores = rng.normal(size=200) + labels
        yield scores, labels.astype(int)
        yield scores.round(), labels.astype(int)  # many ties between the classes
        yield -np.abs(scores).round(1), labels.astype(int)
    yield np.zeros(7), np.array([0, 1, 0, 1, 1, 0, 0])


@pytest.mark.parametrize(("scores", "labels"), list(_cases()))
def test_area_and_precision_agree_with_scikit_learn(scores, labels):
    c = curve(scores, labels)
    assert auroc(c) == pytest.approx(sklearn.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(c) == pytest.approx(sklearn.average_precision_score(labels, scores), abs=1e-12)
    fpr, tpr, _ = sklearn.roc_curve(labels, scores, drop_intermediate=False)
    assert fpr_at_tpr(c) == pytest.approx(fpr[tpr >= 0.95].min(), abs=1e-12)
    assert fpr_at_tpr(c, 0.5) == pytest.approx(fpr[tpr >= 0.5].min(), abs=1e-12)


@pytest.mark.parametrize(("scores", "labels"), list(_cases()))
def test_oracles_agree_with_trying_every_threshold(scores, labels):
    c = curve(scores, labels)
    candidates = np.append(np.unique(scores), scores.min() - 1)
    tpr = np.array([(scores[labels == 1] > t).mean() for t in candidates])
    fpr = np.array([(scores[labels == 0] > t).mean() for t in candidates])
    found = oracle_gmean(c)
    assert found.tpr * (1 - found.fpr) == pytest.approx((tpr * (1 - fpr)).max(), abs=1e-12)
    assert (scores[labels == 1] > found.threshold).mean() == found.tpr
    assert (scores[labels == 0] > found.threshold).mean() == found.fpr
    hits = np.array([((scores > t) & (labels == 1)).sum() for t in [*candidates, oracle_dice(c)[1]]])
    dice = 2 * hits / (labels.sum() + np.array([(scores > t).sum() for t in [*candidates, oracle_dice(c)[1]]]))
    assert oracle_dice(c)[0] == pytest.approx(dice.max(), abs=1e-12)
    assert oracle_dice(c)[0] == pytest.approx(dice[-1], abs=1e-12)  # the threshold that is named leads to it


@pytest.mark.parametrize(("scores", "labels"), list(_cases()))
def test_curve_says_what_lies_strictly_above_each_threshold(scores, labels):
    c = curve(scores, labels)
    for threshold, tp, fp in zip(c.threshold, c.tp, c.fp, strict=True):
        assert ((scores > threshold) & (labels == 1)).sum() == tp
        assert ((scores > threshold) & (labels == 0)).sum() == fp
    assert np.isfinite(c.threshold).all()
    assert (c.tp[0], c.fp[0], c.tp[-1], c.fp[-1]) == (0, 0, labels.sum(), (1 - labels).sum())


def test_weights_are_repetitions():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=60).round(1), np.arange(60) % 3 == 0
    times = rng.integers(0, 4, size=(5, 60))
    c = curve(scores, labels, times)
    for row, found_area, found_precision, found_fpr in zip(times, auroc(c), average_precision(c), fpr_at_tpr(c), strict=True):
        repeated = curve(np.repeat(scores, row), np.repeat(labels, row))
        assert found_area == pytest.approx(auroc(repeated), abs=1e-12)
        assert found_precision == pytest.approx(average_precision(repeated), abs=1e-12)
        assert found_fpr == pytest.approx(fpr_at_tpr(repeated), abs=1e-12)


def test_false_positive_rate_at_95_percent_needs_19_of_20():
    anomalous, normal = np.arange(20.0), np.array([-1.0, 0.5, 1.5, 30.0])
    scores, labels = np.append(anomalous, normal), np.append(np.ones(20), np.zeros(4))
    assert fpr_at_tpr(curve(scores, labels)) == 0.5  # everything above 0.5: 19 anomalous, and the normals 1.5 and 30
    assert fpr_at_tpr(curve(scores, labels), 1.0) == 0.75


def test_higher_is_anomalous_and_an_inverted_score_is_not_turned_round():
    scores, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 1, 0, 0])
    assert auroc(curve(scores, labels)) == 0
    assert auroc(curve(-scores, labels)) == 1
    assert fpr_at_tpr(curve(scores, labels)) == 1


def test_true_and_false_positive_rates_are_not_mixed_up():
    scores, labels = np.array([5.0, 6.0, 7.0, 1.0, 2.0, 9.0, 3.0]), np.array([1, 1, 1, 0, 0, 0, 0])
    flagged = scores > 5
    assert flagged_share(flagged, labels == 1) == pytest.approx(2 / 3)
    assert flagged_share(flagged, labels == 0) == pytest.approx(1 / 4)
    weights = np.array([[1, 1, 0, 1, 1, 3, 0], [1, 1, 1, 0, 0, 0, 0]])
    assert flagged_share(flagged, labels == 0, weights) == pytest.approx([3 / 5, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, np.nan, 2.0], [0, 1, 1], "1 of 3 scores are not finite"),
        ([1.0, np.inf, 2.0], [0, 1, 1], "not finite"),
        ([1.0, 2.0], [0, 0], "none of the 2 rows is anomalous"),
        ([1.0, 2.0], [1, 1], "none of the 2 rows is normal"),
        ([1.0, 2.0], [0, 2], "0 .normal. or 1"),
        ([1.0, 2.0, 3.0], [0, 1], "3 scores and 2 labels"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, labels, words):
    with pytest.raises(MedoodError, match=words):
        curve(np.array(scores), np.array(labels))


def test_finite_keeps_every_bit():
    scores = np.array([1e-300, -3.0, 1 / 3])
    assert np.array_equal(finite(scores), scores)
