"""Judging one level: the calibration's promise, refused rows, and rows that the run has seen; scores drawn from known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medood.evaluation.judge import judge_level
from medood.evaluation.labelled_scores import LabelledRows
from medood.evaluation.level_report import LevelReport
from medood.metrics.calibration import Calibration


def judged(scores: np.ndarray, labels: np.ndarray, calibration: Calibration | None = None, **more: np.ndarray) -> LevelReport:
    """`more`: groups, out_of_domain, seen; each row by itself, none refused and none seen where they are left out."""
    n = len(scores)
    threshold = calibration.threshold if calibration else 1.0
    nothing = np.zeros(n, bool)
    refused = more.get("out_of_domain", nothing)
    groups = more.get("groups", np.arange(n)).astype(str)
    rows = LabelledRows("image", scores, labels, groups, (scores > threshold) & ~refused, {}, refused, more.get("seen", nothing))
    return judge_level(rows, threshold, resamples=50, seed=0, interval=calibration.interval if calibration else None)


def warned(report: LevelReport) -> bool:
    return any("these images differ from the normal images that it was calibrated on" in text for text in report.warnings)


def clustered(rng: np.random.Generator, patients: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores, half of their variance between patients, and their patients."""
    groups = np.repeat(np.arange(patients), images)
    return np.sqrt(0.5) * rng.normal(size=patients)[groups] + np.sqrt(0.5) * rng.normal(size=groups.size), groups


@pytest.mark.parametrize(("held_out", "new", "images"), [(40, 30, 1), (200, 400, 1), (100, 2000, 1), (40, 30, 6), (100, 20, 10)])
def test_the_calibration_is_doubted_in_one_of_twenty_when_nothing_is_wrong(held_out: int, new: int, images: int) -> None:
    rng, doubts, repeats = np.random.default_rng(0), 0, 200
    for _ in range(repeats):
        calibration = Calibration.fit(*clustered(rng, held_out, images), 0.05)
        scores, groups = clustered(rng, new, images)
        doubts += warned(judged(scores, np.zeros(len(scores), int), calibration, groups=groups))
    assert doubts / repeats < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / repeats)


@pytest.mark.parametrize("shift", [0.8, -3.0])
def test_the_calibration_is_doubted_when_the_images_are_of_another_kind(shift: float) -> None:
    rng, doubts = np.random.default_rng(1), 0
    for _ in range(40):
        calibration = Calibration.fit(rng.normal(size=200), np.arange(200), 0.05)
        report = judged(rng.normal(size=200) + shift, np.zeros(200, int), calibration)
        doubts += warned(report)
    assert doubts >= 38
    (text,) = report.warnings
    low, high = calibration.interval
    share = report.run.fpr.value
    assert f"image: {share:.1%} of the normal rows were called anomalous" in text
    assert not low <= share <= high, "the calibration's own interval excludes it too"


def test_anomalous_seen_and_refused_rows_do_not_speak_against_the_calibration() -> None:
    rng = np.random.default_rng(2)
    calibration = Calibration.fit(rng.normal(size=200), np.arange(200), 0.05)
    scores, labels = np.r_[rng.normal(size=150), np.full(90, 9.0)], np.r_[np.zeros(210, int), np.ones(30, int)]
    rows = np.arange(240)
    assert warned(judged(scores, labels, calibration))
    assert not warned(judged(scores, labels, calibration, seen=(rows >= 150) & (rows < 180), out_of_domain=(rows >= 180) & (rows < 210)))


def test_without_an_interval_nothing_is_said_of_the_calibration() -> None:
    assert not warned(judged(np.full(100, 5.0), np.zeros(100, int)))


def test_refused_rows_are_counted_by_class_and_are_called_neither() -> None:
    scores, labels = np.array([0, 0, 2, 2, 0, 2, 2, 2.0]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    refused = np.array([0, 0, 0, 1, 1, 1, 0, 0], bool)
    report = judged(scores, labels, out_of_domain=refused)
    assert (report.out_of_domain.normal, report.out_of_domain.anomalous) == (1, 2)
    assert (report.out_of_domain.of_normal.value, report.out_of_domain.of_anomalous.value) == (0.25, 0.5)
    assert (report.run.fpr.value, report.run.tpr.value) == (0.25, 0.5), "shares of all rows of the class"
    assert report.run.threshold == 1.0, "the decisions are still those of this threshold"
    assert report.score.auroc.value == pytest.approx(roc_auc_score(labels, scores)), "their scores rank as all others"
    assert judged(scores, labels).out_of_domain is None


def test_rows_that_the_run_has_seen_are_counted_and_left_out_of_a_second_ranking() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [100, 50])
    scores, seen = rng.normal(size=150) + labels, np.arange(150) < 58
    scores[seen] -= 5
    report = judged(scores, labels, seen=seen)
    assert (report.seen.normal, report.seen.anomalous) == (58, 0)
    expected = roc_auc_score(labels[~seen], scores[~seen])
    assert report.seen.score.auroc.value == pytest.approx(expected)
    assert report.seen.score.auroc.low < expected < report.seen.score.auroc.high
    (text,) = report.warnings
    assert "image: 58% of the normal rows (58) are images that the run was trained or calibrated on, or near-copies of them" in text
    assert f"without them the AUROC is {expected:.3f} instead of {report.score.auroc.value:.3f}" in text


def test_where_no_new_normal_row_is_left_nothing_is_ranked_a_second_time() -> None:
    labels = np.repeat([0, 1], [10, 5])
    report = judged(np.arange(15.0) / 20, labels, seen=labels == 0)
    assert report.seen.score is None
    assert any("100% of the normal rows (10)" in text and "too few others are left to rank" in text for text in report.warnings)
