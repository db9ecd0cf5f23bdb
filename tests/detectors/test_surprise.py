"""How surprising a score is, and that joining detectors by it keeps the false-alarm rate."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from medood.detectors.combination.surprise import Join, joined, surprise
from medood.metrics.calibration import Calibration

JOINS: tuple[Join, ...] = ("fisher", "harmonic_mean", "maximum")


def test_at_a_held_out_score_it_is_the_conformal_p_value() -> None:
    normal = np.random.default_rng(0).normal(size=80).round(1)  # with ties
    expected = [(1 + (normal >= score).sum()) / 81 for score in normal]
    np.testing.assert_allclose(np.exp(-surprise(normal, normal)), expected)


def test_up_to_the_highest_score_p_is_never_below_the_conformal_one() -> None:
    normal = np.random.default_rng(0).gamma(2, size=50)
    scores = np.linspace(normal.min() - 1, normal.max(), 1000)
    conformal = (1 + (normal[None] >= scores[:, None]).sum(1)) / 51
    assert (np.exp(-surprise(scores, normal)) >= conformal - 1e-12).all()


def test_the_order_of_scores_is_kept_far_beyond_the_highest() -> None:
    normal = np.random.default_rng(0).normal(size=40)
    far = np.sort(normal.max() + np.geomspace(1e-3, 1e6, 200))
    assert (np.diff(surprise(np.concatenate([np.sort(normal), far]), normal)) > 0).all()


@pytest.mark.parametrize("number", [20, 200])
def test_the_tail_of_exponential_scores_is_exponential(number: int) -> None:
    """Then p is uniform beyond the highest score too, so that a tenth of what lies beyond has a p of less than a tenth of what it begins
    with, be the scores few or many. With their plain mean excess as the true one a fourth would, of twenty scores."""
    random = np.random.default_rng(0)
    beyond, below = 0, 0
    for _ in range(4000):
        normal, score = random.exponential(size=number), random.exponential(size=50)
        beyond += int((score > normal.max()).sum())
        below += int((np.exp(-surprise(score, normal)) < 0.2 / (number + 1)).sum())
    assert beyond / (4000 * 50) == pytest.approx(1 / (number + 1), rel=0.1)
    assert below / beyond == pytest.approx(0.1, abs=0.02)


def test_held_out_scores_that_are_all_the_same_say_nothing_of_one_that_is_lower() -> None:
    same = np.full(30, 2.0)
    assert surprise(np.array([1.0, 2.0]), same).tolist() == [0.0, 0.0]
    assert np.isfinite(surprise(np.array([2.1, 1e30]), same)).all()


def test_the_joins_are_those_of_the_formulas() -> None:
    p = np.array([[0.2, 0.01, 0.5], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(joined(-np.log(p), "fisher"), -np.log(p.prod(1)))
    np.testing.assert_allclose(joined(-np.log(p), "harmonic_mean"), -np.log(3 / (1 / p).sum(1)), atol=1e-12)
    np.testing.assert_allclose(joined(-np.log(p), "maximum"), -np.log(p.min(1)))
    assert np.isfinite(joined(np.array([[1e5, 0.0]]), "harmonic_mean")).all()


def members(random: np.random.Generator, patients: int, images: int) -> np.ndarray:
    """(patients * images, 3) scores of normal images, patient by patient: dependent, one with a heavy tail, one with ties."""
    patient, image = random.normal(size=(patients, 1, 4)), random.normal(size=(patients, images, 4))
    scores = (image if images == 1 else 0.8 * patient + 0.6 * image).reshape(-1, 4)
    scores = 0.7 * scores[:, :1] + 0.7 * scores[:, 1:]
    return np.stack([scores[:, 0], np.exp(1.5 * scores[:, 1]), scores[:, 2].round(1)], 1)


def surprises(scores: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return np.stack([surprise(one, among) for one, among in zip(scores.T, normal.T, strict=True)], 1)


@cache
def rates(patients: int, images: int, alpha: float, leave_out: str) -> dict[Join, np.ndarray]:
    """The share of new normal images that are called anomalous, in each of 200 calibrations; `leave_out`: "image", "patient", "nothing"."""
    random, found = np.random.default_rng(1), {join: np.zeros(200) for join in JOINS}
    groups = np.repeat(np.arange(patients), images)
    for repeat in range(200):
        normal, new = members(random, patients, images), members(random, 400 // images, images)
        own, beside = np.zeros_like(normal), surprises(new, normal)
        for part in (
            [np.arange(len(normal)) == i for i in range(len(normal))] if leave_out == "image" else [groups == g for g in range(patients)]
        ):
            own[part] = surprises(normal[part], normal if leave_out == "nothing" else normal[~part])
        for join in JOINS:
            calibration = Calibration.fit(joined(own, join), groups, alpha)
            found[join][repeat] = calibration.anomalous(joined(beside, join)).mean()
    return found


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize(("patients", "images", "alpha"), [(19, 1, 0.05), (39, 1, 0.1), (20, 5, 0.05)])
def test_the_false_alarm_rate_holds_when_each_patient_is_compared_with_the_others(
    join: Join, patients: int, images: int, alpha: float
) -> None:
    found = rates(patients, images, alpha, "patient")[join]
    assert 0.5 * alpha < found.mean() < alpha + 2 * found.std() / len(found) ** 0.5


def test_compared_with_themselves_too_they_would_promise_too_much() -> None:
    assert all(found.mean() > 0.065 for found in rates(19, 1, 0.05, "nothing").values())
    for join, found in rates(20, 5, 0.05, "image").items():
        assert found.mean() > 1.1 * rates(20, 5, 0.05, "patient")[join].mean()
