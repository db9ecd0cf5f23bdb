"""Intervals against loops that resample patients one by one, and against exact binomial intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from medood.metrics.intervals import GroupBootstrap, clustered_rate, paired_difference
from medood.metrics.ranking import auroc, average_precision, curve


def _clustered(patients: int, images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and groups; scores of one patient go together, labels differ within a patient."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), images)
    labels = rng.random(groups.size) < 0.4
    return rng.normal(size=groups.size) + labels + 1.5 * rng.normal(size=patients)[groups], labels.astype(int), groups


def _area(scores, labels):
    return lambda weights: {"auroc": auroc(curve(scores, labels, weights))}


def test_interval_is_that_of_a_loop_over_resampled_patients():
    scores, labels, groups = _clustered(30, 6)
    found = GroupBootstrap(groups, labels, resamples=4000, seed=1).estimates(_area(scores, labels))["auroc"]
    rng = np.random.default_rng(2)
    loop = []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(0, 30, 30)])
        loop.append(roc_auc_score(labels[rows], scores[rows]))
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(loop, (0.025, 0.975))), abs=0.012)


def test_copies_of_an_image_do_not_narrow_the_interval():
    scores, labels, groups = _clustered(25, 4)
    once = GroupBootstrap(groups, labels, seed=3).estimates(_area(scores, labels))["auroc"]
    again = np.tile(np.arange(scores.size), 10)
    copies = GroupBootstrap(groups[again], labels[again], seed=3).estimates(_area(scores[again], labels[again]))["auroc"]
    as_if_independent = GroupBootstrap(np.arange(again.size), labels[again], seed=3).estimates(_area(scores[again], labels[again]))["auroc"]
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high))
    assert as_if_independent.high - as_if_independent.low < 0.5 * (once.high - once.low)


def test_names_of_patients_do_not_matter_and_the_seed_does():
    scores, labels, groups = _clustered(20, 3)
    names = np.array([f"patient {g:02d}" for g in groups])
    first, second, other = (
        GroupBootstrap(key, labels, seed=seed).estimates(_area(scores, labels))["auroc"]
        for key, seed in ((groups, 0), (names, 0), (groups, 1))
    )
    assert first == second
    assert first.low != other.low


@pytest.mark.parametrize("make_up", [(8, 8, 0), (5, 1, 4), (1, 6, 3), (3, 1, 2), (9, 9, 1)])
def test_every_resample_keeps_both_classes_and_the_number_of_patients(make_up):
    """`make_up`: patients with normal images only, anomalous only, both."""
    kinds = np.repeat(["n", "a", "b"], make_up)
    groups = np.concatenate([[i] if kind != "b" else [i, i] for i, kind in enumerate(kinds)])
    labels = np.concatenate([{"n": [0], "a": [1], "b": [0, 1]}[kind] for kind in kinds])
    seen = []

    def statistic(weights):
        if weights is None:
            return {"x": np.float64(0)}
        seen.append(weights)
        return {"x": weights.sum(-1).astype(float)}

    bootstrap = GroupBootstrap(groups, labels, resamples=300, seed=0)
    assert bootstrap.reason == ""
    bootstrap.estimates(statistic)
    weights = np.concatenate(seen)
    assert weights.shape == (300, labels.size)
    assert (weights[:, labels == 0].sum(1) > 0).all()
    assert (weights[:, labels == 1].sum(1) > 0).all()
    first_rows = np.unique(groups, return_index=True)[1]
    assert (weights[:, first_rows].sum(1) == sum(make_up)).all()
    assert (weights[:, first_rows].std(0) > 0).all()  # every patient takes part in the drawing


def test_two_patients_of_a_class_give_no_interval_but_a_reason():
    scores, labels = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([0, 0, 0, 1, 1])
    found = GroupBootstrap(np.arange(5), labels).estimates(_area(scores, labels))["auroc"]
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert "at least 3 patients in each class, found 2" in found.reason
    assert set(found.to_dict()) == {"value", "low", "high", "reason"}


def test_chunks_give_what_one_piece_gives(monkeypatch):
    scores, labels, groups = _clustered(20, 3)
    whole = GroupBootstrap(groups, labels, resamples=100).estimates(_area(scores, labels))
    monkeypatch.setattr("medood.metrics.intervals._CHUNK", 7 * scores.size)
    assert GroupBootstrap(groups, labels, resamples=100).estimates(_area(scores, labels)) == whole


def test_paired_difference_sees_what_two_intervals_hide():
    rng = np.random.default_rng(5)
    labels = np.arange(200) % 2
    groups = np.arange(200) // 2
    hard = rng.normal(size=200)
    worse, better = hard + 1.2 * labels, hard + 1.4 * labels
    found = paired_difference(better, worse, labels, groups, resamples=500)
    own = GroupBootstrap(groups, labels, resamples=500).estimates(_area(better, labels))["auroc"]
    assert found.value == pytest.approx(roc_auc_score(labels, better) - roc_auc_score(labels, worse))
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < 0.5 * (own.high - own.low)
    nothing = paired_difference(better, better, labels, groups, metric=average_precision, resamples=50)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    back = paired_difference(worse, better, labels, groups, resamples=500)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (1, 20), (7, 30), (30, 30)])
def test_one_row_per_patient_gives_the_clopper_pearson_interval(hits, n):
    exact = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    found = clustered_rate(np.arange(n) < hits, np.arange(n))
    assert (found.value, found.low, found.high) == pytest.approx((hits / n, exact.low, exact.high))


def test_rate_interval_counts_patients_and_not_images():
    hit = np.arange(30) < 6
    one_each = clustered_rate(hit, np.arange(30))
    copied = clustered_rate(np.repeat(hit, 20), np.repeat(np.arange(30), 20))
    assert copied.value == one_each.value
    assert copied.low <= one_each.low  # a little wider: the spread between patients is itself estimated
    assert copied.high >= one_each.high
    none_hit = clustered_rate(np.zeros(400, bool), np.repeat(np.arange(4), 100))
    assert none_hit.high == pytest.approx(stats.binomtest(0, 4).proportion_ci().high)
    assert clustered_rate(np.ones(10, bool), np.arange(10) % 2).low is None


def test_rate_interval_covers_the_truth_for_clustered_images():
    rng = np.random.default_rng(0)
    groups, truth, inside = np.repeat(np.arange(40), 5), 1 - stats.norm.cdf(1.2), 0
    for _ in range(300):
        latent = np.sqrt(0.5) * rng.normal(size=40)[groups] + np.sqrt(0.5) * rng.normal(size=200)
        found = clustered_rate(latent > 1.2, groups)
        inside += found.low <= truth <= found.high
    assert 0.91 <= inside / 300 <= 0.995


def test_rate_interval_is_that_of_korn_and_graubard_worked_out_by_hand():
    hits = np.array([4, 0, 1, 3, 0, 2])  # of 5 images of each of 6 patients
    groups = np.repeat(np.arange(6), 5)
    hit = np.concatenate([np.arange(5) < h for h in hits])
    share, n = 10 / 30, 30
    variance = 6 / 5 * ((hits - 5 * share) ** 2).sum() / n**2
    design_effect = variance / (share * (1 - share) / (n - 1))
    effective = n / design_effect * (stats.t.ppf(0.975, 29) / stats.t.ppf(0.975, 5)) ** 2
    low = stats.beta.ppf(0.025, share * effective, effective - share * effective + 1)
    high = stats.beta.ppf(0.975, share * effective + 1, effective - share * effective)
    found = clustered_rate(hit, groups)
    assert design_effect > 2
    assert (found.low, found.high) == pytest.approx((low, high))
    alike = clustered_rate(np.tile(np.arange(5) < 2, 6), groups)  # patients that agree by chance do not make images worth more
    exact = stats.binomtest(12, 30).proportion_ci(0.95, "exact")
    assert alike.high - alike.low > exact.high - exact.low
