"""The table of classes: cells, means over classes, standard errors over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev
from typing import Any

import pytest

from medood.benchmarking.class_table import standard_error
from medood.benchmarking.tables import tables
from medood.export.tables import Number, Table, as_text
from medood.recipe.benchmarks.comparison import Bounded, Comparison, Ranked

TURNS = {"Clothes": ("Clothes, shirt", "Clothes, bag")}
SEEDS = {("Clothes, shirt", "GT"): (0.90, 0.94), ("Clothes, bag", "GT"): (0.70, 0.72), ("Clothes, shirt", "SVM"): (0.6,)}
SHIRT = {"GT": [[0.99, 0.01]], "RAW": [0.5]}
PUBLISHED = {"title": "Somebody, table 1", "beside": {"Clothes, shirt": SHIRT, "Clothes, bag": {"GT": [0.97]}}}


def comparison(cohort: str, detector: str, seeds: Sequence[float]) -> Comparison:
    def ranked(values: Sequence[float]) -> Ranked:
        middle = Bounded(sum(values) / len(values), 0.1, 0.9, 0.5)
        return Ranked(middle, middle, middle, tuple(values))

    return Comparison(
        cohort=cohort,
        detector=detector,
        against="intra",
        level="image",
        normal=10,
        anomalous=90,
        patients=100,
        seeds=tuple(range(len(seeds))),
        score=ranked(seeds),
        gated=ranked(seeds),
        parts={
            "simplified": ranked([seed - 0.1 for seed in seeds]),
            "nu_1": ranked([0.3]),
            "nu_2": ranked([0.8 if "bag" in cohort else 0.2]),
        },
        plain={},
        run_fpr=None,
        run_tpr=None,
        false_alarm_rate=0.05,
    )


def made(**changes: Any) -> Table:
    found = [comparison(*key, seeds) for key, seeds in SEEDS.items()]
    options = {"cohorts": TURNS["Clothes"], "detectors": ("GT", "SVM"), "outliers": {}, "parts": {}, "published": PUBLISHED, "turns": TURNS}
    (table,) = tables(found, layouts=["classes"], **(options | changes))
    return table


def test_rows_are_classes_and_columns_are_detectors_with_published_figures_beside() -> None:
    table = made()
    assert table.columns == ("GT", "GT, published", "SVM", "RAW, published")
    (block,) = table.blocks
    assert block.title == "Clothes"
    assert [row.name for row in block.rows] == ["shirt", "bag", "mean"]
    shirt, bag, mean = block.rows
    assert shirt.cells[0] == Number(pytest.approx(0.92), spread=pytest.approx(0.02))
    assert shirt.cells[1:] == (Number(0.99, spread=0.01), Number(0.6), Number(0.5))
    assert bag.cells[2:] == (None, "")
    assert mean.cells[0] == Number(pytest.approx(0.815), spread=pytest.approx(0.015))
    assert mean.cells[1] == Number(pytest.approx(0.98))
    assert mean.cells[2:] == (None, "")


def test_parts_have_columns_of_their_own() -> None:
    table = made(parts={"GT": {"GT, simplified": "simplified"}})
    at = table.columns.index("GT, simplified")
    assert table.blocks[0].rows[2].cells[at] == Number(pytest.approx(0.715), spread=pytest.approx(0.015))


def test_the_best_in_hindsight_has_a_column_that_says_so() -> None:
    table = made(hindsight={"GT": "nu_*"})
    at = table.columns.index("GT, hindsight")
    assert [row.cells[at].value for row in table.blocks[0].rows] == pytest.approx([0.3, 0.8, 0.55])  # type: ignore[union-attr]
    assert any("chosen by the labels of the test" in note for note in table.notes)
    assert not any("chosen by the labels of the test" in note for note in made().notes)


def test_the_text_says_what_the_signs_mean() -> None:
    text = as_text(made())
    assert "standard error over the seeds" in text
    assert "Somebody, table 1" in text
    assert "10 bootstraps" not in text
    assert "SVM on Clothes, bag" in text


def test_without_such_cohorts_there_is_no_table() -> None:
    assert tables([], layouts=["classes"], cohorts=("A",), detectors=("GT",), outliers={}, parts={}) == []


def test_the_standard_error_is_the_deviation_over_the_root_of_the_number() -> None:
    assert standard_error([1.0, 2.0, 6.0]) == pytest.approx(stdev([1, 2, 6]) / 3**0.5)
    assert standard_error([1.0]) is None
