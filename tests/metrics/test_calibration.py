"""What calibration promises: a false-alarm rate on new normal images, known without any anomaly."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from medood.core.errors import CalibrationError, MedoodError
from medood.core.map_scale import MapScale
from medood.metrics.calibration import Calibration, expected_rate, fit_map_scale


def _alone(n: int) -> np.ndarray:
    return np.arange(n)


def test_p_values_are_those_of_the_definition_and_never_zero():
    held_out = np.array([3.0, 1.0, 2.0, 2.0, 5.0, *range(-20, 0)])
    calibration = Calibration.fit(held_out, _alone(25), 0.1)
    for score in (-30.0, -5.0, 0.0, 1.0, 2.0, 2.5, 5.0, 5.1, 1e9):
        assert calibration.p_value(score) == pytest.approx((1 + (held_out >= score).sum()) / 26)
    assert calibration.p_value(np.array([[2.0, 1e9]])).shape == (1, 2)
    assert calibration.p_value(1e9) == pytest.approx(1 / 26)
    assert calibration.p_value(-1e9) == 1


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25, 0.29, 0.5, 0.07])
@pytest.mark.parametrize("n", [19, 20, 39, 59, 99, 100, 250])
def test_decision_and_p_value_agree_with_ties_and_without(n, rate):
    rng = np.random.default_rng(n)
    for scores in (rng.normal(size=n), rng.integers(0, 6, n).astype(float)):
        calibration = Calibration.fit(scores, _alone(n), rate)
        asked = np.concatenate([scores, scores + 1e-9, rng.normal(size=50), [scores.max() + 1]])
        assert np.array_equal(calibration.anomalous(asked), calibration.p_value(asked) <= rate)
        smaller = np.unique(scores)[np.unique(scores) < calibration.threshold]
        for lower in smaller[-1:]:  # the smallest order statistic that keeps the promise: a lower one breaks it
            assert ((1 + (scores >= np.nextafter(lower, np.inf)).sum()) / (n + 1)) > rate


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.07, 14), (0.5, 1), (0.001, 999)])
def test_too_few_normals_are_refused_with_the_number_needed(rate, needed):
    assert Fraction(1, needed + 1) <= Fraction(str(rate)) < Fraction(1, needed)
    with pytest.raises(CalibrationError, match=rf"at least {needed} held-out normal images, found {needed - 1}") as caught:
        Calibration.fit(np.arange(needed - 1.0), _alone(needed - 1), rate)
    assert str(caught.value).count(". ") == 0  # one sentence
    scores = np.arange(float(needed))
    calibration = Calibration.fit(scores, _alone(needed), rate)
    assert calibration.threshold == scores.max()


def test_threshold_is_not_the_minimum_when_there_is_no_anomaly():
    scores = np.random.default_rng(0).normal(size=200)
    calibration = Calibration.fit(scores, _alone(200), 0.05)
    assert calibration.anomalous(scores).sum() == 9  # the 10th largest of 200 is the threshold
    assert calibration.threshold == np.sort(scores)[190]


def test_stated_interval_holds_the_true_rate_and_the_promise_holds_on_average():
    rng = np.random.default_rng(1)
    inside, rates = 0, []
    for _ in range(200):
        calibration = Calibration.fit(rng.normal(size=60), _alone(60), 0.05)
        rates.append(calibration.anomalous(rng.normal(size=4000)).mean())
        inside += calibration.interval[0] <= rates[-1] <= calibration.interval[1]
    assert 0.90 <= inside / 200 <= 0.99
    assert np.mean(rates) == pytest.approx(3 / 61, abs=0.005)  # floor(61 * 0.05) / 61, just below 5 %


def test_stated_interval_holds_the_true_rate_with_several_images_per_patient():
    rng = np.random.default_rng(2)
    groups, inside, naive = np.repeat(np.arange(30), 8), 0, 0
    for _ in range(200):
        scores = np.sqrt(0.5) * rng.normal(size=30)[groups] + np.sqrt(0.5) * rng.normal(size=240)
        calibration = Calibration.fit(scores, groups, 0.1)
        truth = 1 - stats.norm.cdf(calibration.threshold)
        inside += calibration.interval[0] <= truth <= calibration.interval[1]
        low, high = Calibration.fit(scores, _alone(240), 0.1).interval
        naive += low <= truth <= high
    assert 0.90 <= inside / 200 <= 0.99
    assert naive / 200 < 0.85  # taking images for patients would promise too much


def test_interval_is_exactly_beta_for_one_image_per_patient():
    low, high = Calibration.fit(np.random.default_rng(0).normal(size=99), _alone(99), 0.05).interval
    assert (low, high) == pytest.approx(stats.beta(5, 95).interval(0.95))


def test_two_patients_give_no_interval_but_a_reason():
    calibration = Calibration.fit(np.arange(40.0), np.repeat([0, 1], 20), 0.05)
    assert calibration.interval is None
    assert "at least 3 patients" in calibration.interval_reason
    assert calibration.patients == 2


def test_p_values_of_new_normals_are_not_smaller_than_uniform():
    rng = np.random.default_rng(3)
    p = np.array([Calibration.fit(rng.normal(size=40), _alone(40), 0.1).p_value(rng.normal()) for _ in range(3000)])
    for level in (0.05, 0.1, 0.25, 0.5, 0.9):
        assert (p <= level).mean() <= level + 2.5 * np.sqrt(level * (1 - level) / p.size)


def test_scores_are_never_clamped_and_keep_their_order():
    calibration = Calibration.fit(np.arange(50.0), _alone(50), 0.05)
    assert calibration.scores.dtype == np.float64
    assert calibration.anomalous(np.array([1e30, 1e300])).all()
    tiny = Calibration.fit(1 + np.arange(50.0) * 1e-12, _alone(50), 0.05)
    assert np.unique(tiny.scores).size == 50


@pytest.mark.parametrize("groups", [np.arange(25), np.arange(25) // 5, np.arange(25) // 13])
def test_json_gives_back_the_same_bits(groups):
    scores = np.random.default_rng(4).normal(size=25) / 3
    calibration = Calibration.fit(scores, groups, 0.05).with_maps(MapScale(0.1, 1 / 3, 0.1))
    stored = json.loads(json.dumps(calibration.to_dict(), allow_nan=False))
    back = Calibration.from_dict(stored)
    assert np.array_equal(back.scores, calibration.scores)
    assert back.to_dict() == calibration.to_dict()
    assert isinstance(back.map_scale, MapScale)
    asked = np.append(scores, scores + 1e-16)
    assert np.array_equal(back.p_value(asked), calibration.p_value(asked))
    with pytest.raises(CalibrationError, match="threshold"):
        Calibration.from_dict({name: value for name, value in stored.items() if name != "threshold"})


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5])
def test_a_rate_outside_zero_and_one_is_refused(rate):
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        Calibration.fit(np.arange(100.0), _alone(100), rate)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(MedoodError, match="not finite"):
        Calibration.fit(np.append(np.arange(30.0), np.nan), _alone(31))
    calibration = Calibration.fit(np.arange(30.0), _alone(30))
    for ask in (calibration.p_value, calibration.anomalous):
        with pytest.raises(MedoodError, match="not finite"):
            ask(np.array([np.nan]))


def test_map_scale_begins_where_one_percent_of_normal_pixels_lie_above():
    rng = np.random.default_rng(5)
    maps = [rng.gamma(2, size=(40, rng.integers(10, 60))) for _ in range(30)]
    pixels = np.concatenate([m.ravel() for m in maps])
    scale = fit_map_scale(iter(maps))
    assert scale.low == scale.threshold
    assert 0.01 - 2 / pixels.size < (pixels > scale.threshold).mean() <= 0.01
    assert scale.high == pytest.approx(scale.threshold + np.quantile(pixels, 0.999) - np.median(pixels))
    assert 0.2 - 2 / pixels.size < (pixels > fit_map_scale(maps, exceeded=0.2).threshold).mean() <= 0.2


def test_map_scale_of_a_long_stream_is_close_and_repeatable():
    def stream():
        rng = np.random.default_rng(6)
        for brightness in np.linspace(0.5, 1.5, 12):
            yield brightness * rng.exponential(size=250_000).astype(np.float32)

    pixels = np.concatenate(list(stream()))
    scale = fit_map_scale(stream())
    assert (pixels > scale.threshold).mean() == pytest.approx(0.01, abs=4e-4)
    assert scale == fit_map_scale(stream())
    assert scale != fit_map_scale(stream(), seed=1)


@pytest.mark.parametrize("value", [0.0, -2.5, 7.0])
def test_map_scale_of_a_constant_map_still_has_two_ends(value):
    scale = fit_map_scale([np.full((8, 8), value)])
    assert scale.threshold == scale.low == value < scale.high


def test_map_scale_refuses_no_pixels_and_no_numbers():
    with pytest.raises(CalibrationError, match="no pixel"):
        fit_map_scale([np.empty(0)])
    with pytest.raises(CalibrationError, match="not finite"):
        fit_map_scale([np.array([0.0, np.nan])])


def test_the_expected_rate_is_the_beta_binomial_of_exact_calibrations() -> None:
    n, rate, new = 99, 0.05, 60
    interval = Calibration.fit(np.arange(float(n)), _alone(n), rate).interval
    low, high = expected_rate(interval, np.arange(new) < 3, _alone(new))
    assert (low, high) == pytest.approx(stats.betabinom(new, 5, 95).ppf([0.025, 0.975]) / new)
    assert high > interval[1], "few new rows say little"
    assert expected_rate(interval, np.arange(100_000) < 4000, _alone(100_000)) == pytest.approx(interval, abs=0.003)


def test_new_images_of_few_patients_widen_the_expected_rate() -> None:
    interval, called = (0.03, 0.08), np.arange(60) < 6
    assert expected_rate(interval, called, np.arange(60) // 6)[1] > expected_rate(interval, called, np.arange(60))[1]


@pytest.mark.parametrize("interval", [(1e-6, 0.02), (0.3, 0.35), (0.001, 0.9), (0.04, 0.0401), (0.0, 1.0)])
def test_any_interval_gives_an_expected_rate_around_it(interval: tuple[float, float]) -> None:
    low, high = expected_rate(interval, np.zeros(500, bool), np.arange(500))
    assert 0 <= low <= max(interval[0], 1 / 500)
    assert interval[1] - 1 / 500 <= high <= 1
