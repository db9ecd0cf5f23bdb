"""Scores of a benchmark's runs as comparisons, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medood.benchmarking import results
from medood.benchmarking.results import Rows, compare
from medood.evaluation.labelled_scores import Key
from medood.recipe.benchmarks.comparison import Comparison, Ranked


def compared(
    scores: list[float],
    labels: list[int],
    refused: list[bool],
    plain: dict[str, list[float]] | None = None,
    known: dict[bytes, Ranked] | None = None,
) -> Comparison:
    count = len(scores)
    rows = Rows(
        level="image",
        keys=[("intra", Key(str(number), None)) for number in range(count)],
        labels=np.array(labels),
        groups=np.array([str(number) for number in range(count)]),
        scores=np.array([scores], dtype=float),
        flagged=None,
        refused=np.array([refused]),
        parts={},
        plain={name: np.array(values) for name, values in (plain or {}).items()},
    )
    return compare(rows, cohort="c", detector="d", against="other", seeds=(0,), rate=None, resamples=20, known=known)


def test_what_the_gate_refuses_counts_as_more_anomalous_than_all_that_it_lets_in() -> None:
    # The last three are of another kind; the detector calls two of them more normal than anything.
    found = compared([1, 2, 3, 4, 0.1, 0.2, 2.5], [0, 0, 0, 0, 1, 1, 1], [False] * 4 + [True, True, False])
    assert found.score.auroc.value == pytest.approx(2 / 12)
    assert found.gated.auroc.value == pytest.approx((4 + 4 + 2) / 12)


def test_a_refused_normal_image_costs() -> None:
    found = compared([1, 2, 3, 4], [0, 0, 1, 1], [True, False, False, False])
    assert found.score.auroc.value == 1
    assert found.gated.auroc.value == pytest.approx(2 / 4)


def test_among_the_refused_the_score_decides() -> None:
    found = compared([5, 6, 7, 8], [0, 1, 0, 1], [True] * 4)
    assert found.gated.auroc.value == found.score.auroc.value == pytest.approx(3 / 4)


def test_a_trivial_feature_is_ranked_once_for_all_detectors_on_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    ranked: list[float] = []
    original = results._ranked
    monkeypatch.setattr(results, "_ranked", lambda scores, *rest: ranked.append(scores[0, 0]) or original(scores, *rest))
    labels, brightness, known = [0, 0, 0, 1, 1, 1], [6.0, 5.0, 4.0, 3.0, 2.5, 1.0], {}
    first, again, others = (
        compared([1, 2, 3, 4, 5, 6], of, [False] * 6, plain={"brightness": brightness}, known=known)
        for of in (labels, labels, [0, 0, 1, 1, 1, 0])
    )
    assert ranked == [1, -6, 1, 1, -6]
    assert first.plain == again.plain
    assert first.plain["brightness"].direction == "lower"
    assert first.plain["brightness"].auroc.value == 1
    assert others.plain["brightness"].auroc.value == pytest.approx(6 / 9)
