"""The order of candidates against brute force and known truth."""

from __future__ import annotations

import numpy as np
import pytest

from medood.advising.ranking import directed, only_a_shortcut, rank
from medood.metrics.intervals import Estimate

CASE = np.array([""] * 20 + ["bright, small"] * 10 + ["dark, small"] * 5)
GROUPS = np.array([f"p{i % 7}" for i in range(35)])


def brute_force(scores: np.ndarray) -> float:
    """Mean over cases of the share of pairs in the right order; a normal image counts as often as its patient has anomalous ones."""
    found = []
    for one in ("bright, small", "dark, small"):
        right, pairs = 0.0, 0.0
        for normal in np.flatnonzero(CASE == ""):
            same = (CASE == "") & (GROUPS[normal] == GROUPS)
            times = np.sum((one == CASE) & (GROUPS[normal] == GROUPS)) / same.sum()
            for anomalous in np.flatnonzero(one == CASE):
                right += times * ((scores[anomalous] > scores[normal]) + 0.5 * (scores[anomalous] == scores[normal]))
                pairs += times
        found.append(right / pairs)
    return float(np.mean(found))


def test_the_order_is_that_of_the_mean_over_cases_whatever_their_size() -> None:
    random = np.random.default_rng(0)
    sees_bright = random.random(35) + 2 * (CASE == "bright, small")
    sees_all = random.random(35) + 0.8 * (CASE != "")
    noise = random.random(35).round(1)
    found = rank({"noise": noise, "bright only": sees_bright, "all": sees_all}, CASE, GROUPS)
    assert [each.name for each in found] == ["all", "bright only", "noise"]
    for each, scores in zip(found, (sees_all, sees_bright, noise), strict=True):
        assert each.mean.value == pytest.approx(brute_force(scores))
        assert each.mean.low is not None
        assert each.mean.low <= each.mean.value <= each.mean.high
    assert found[1].cases["bright, small"] == 1.0
    assert rank({"all": sees_all}, CASE, GROUPS)[0] == found[0], "the same seed gives the same interval"


def test_it_does_not_matter_who_got_the_anomalies() -> None:
    """Two patients whose images look odd in any case are not taken for anomalous ones."""
    case, groups = np.array([""] * 10 + ["blur, small"] * 4), np.array([f"p{i}" for i in range(10)] + ["p8", "p9"] * 2)
    scores = np.where(np.isin(groups, ["p8", "p9"]), 5.0, 0.0)
    assert rank({"unmoved": scores}, case, groups)[0].mean.value == 0.5
    assert rank({"moved": scores + 9.0 * (case != "")}, case, groups)[0].mean.value == 1.0


def test_there_is_no_interval_for_two_patients() -> None:
    found = rank({"a": np.arange(35.0)}, CASE, np.array(["p", "q"] * 17 + ["p"]))[0]
    assert found.mean.low is None
    assert found.mean.reason


def test_trivial_features_count_in_both_directions() -> None:
    values = {"plain_mean": np.where(CASE == "", 1.0, 0.0)}
    best, worst = rank(directed(values), CASE, GROUPS)
    assert (best.name, best.mean.value, worst.mean.value) == ("mean, lower", 1.0, 0.0)


def test_a_shortcut_is_a_trivial_feature_within_the_interval_of_the_best() -> None:
    def ranked(value: float, low: float | None = None):
        each = rank({"x": np.arange(35.0)}, CASE, GROUPS)[0]
        return type(each)("x", Estimate(value, low, None if low is None else 0.99), {})

    assert only_a_shortcut(ranked(0.9, 0.8), ranked(0.8))
    assert not only_a_shortcut(ranked(0.9, 0.8), ranked(0.79))
    assert only_a_shortcut(ranked(0.9), ranked(0.9))
    assert not only_a_shortcut(ranked(0.9), ranked(0.89))
