"""An evaluation in print: nothing is cut at 80 columns, every number is there, and Markdown and LaTeX are well formed."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from medood.evaluation.judge import judge_level
from medood.evaluation.labelled_scores import LabelledRows
from medood.evaluation.report import Report
from medood.evaluation.report_tables import document, tables
from medood.export.table_model import Number
from medood.export.tables import as_text, decimal
from medood.metrics.lesions import LesionMap, detect
from medood.metrics.pixel import LabelledPixels, localise_within


def report() -> Report:
    """Of everything there can be: two levels, parts, trivial features, refused and seen rows, maps, lesions, long notes."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3 == 0
    scores = rng.normal(size=90) + 1.5 * labels
    columns = {"part_" + "reconstruction_error_" * 3 + "mean": scores / 2, "plain_sharpness": -scores + rng.normal(size=90)}
    refused, seen = np.arange(90) % 11 == 0, (np.arange(90) % 2 == 0) & ~labels
    rows = LabelledRows("slice", scores, labels.astype(int), np.arange(90) // 2, (scores > 1.2) & ~refused, columns, refused, seen)
    series = replace(rows, level="series", columns={}, out_of_domain=refused & False, seen=seen & False, flagged=None)
    levels = [judge_level(each, 1.2345678, resamples=50, seed=0) for each in (rows, series)]
    maps = [(rng.normal(size=(20, 20)) + 2 * (region > 0), region, str(n)) for n, region in enumerate(regions(rng))]
    pixels = [LabelledPixels(v.ravel(), r.ravel(), g, np.arange(400) > 100) for v, r, g in maps]
    every, inside = localise_within(lambda: pixels, resamples=50)
    lesions = detect([LesionMap(v, r, np.ones(v.shape, bool), g) for v, r, g in maps], threshold=2.0, resamples=50)
    facts = {"false_alarm_rate": 0.05}
    kinds = ("map", "plain")
    return Report(
        facts,
        levels,
        dict.fromkeys(kinds, every),
        dict.fromkeys(kinds, inside),
        dict.fromkeys(kinds, lesions),
        ["slice: a note with an awkward_path/of%20some_kind and {braces}, " + "which goes on and on " * 10],
        [warning for level in levels for warning in level.warnings],
        0,
        50,
    )


def regions(rng: np.random.Generator) -> list[np.ndarray]:
    found = []
    for _ in range(6):
        region = np.zeros((20, 20), int)
        row, column = rng.integers(8, 16, 2)
        region[row : row + 3, column : column + 3] = 1
        found.append(region)
    return found


REPORT = report()


@pytest.mark.parametrize("width", [80, 60, 140])
def test_text_fits_and_holds_every_number_and_word(width: int) -> None:
    text = document(REPORT, "text", width)
    assert max(map(len, text.splitlines())) <= width
    plain = re.sub(r"\s+", " ", text)
    for remark in (*REPORT.notes, *REPORT.warnings):
        assert re.sub(r"\s+", " ", remark).strip() in plain
    for table in tables(REPORT):
        cells = [cell for block in table.blocks for row in block.rows for cell in row.cells]
        for cell in cells:
            shown = f"{decimal(cell.value)} [{decimal(cell.low)}, {decimal(cell.high)}]" if isinstance(cell, Number) else cell or ""
            assert shown in text
    assert "reconstruction_error_" in text


def test_what_was_seen_and_refused_stands_in_the_tables() -> None:
    text = document(REPORT, "text", 140)
    level = REPORT.levels[0]
    assert f"Out of domain: {level.out_of_domain.anomalous} anomalous and {level.out_of_domain.normal} normal rows" in text
    assert "run, for 5 % false alarms" in text
    assert "Inside the body" in text
    ranking = tables(REPORT)[0]
    assert [row.name for row in ranking.blocks[0].rows] == ["score", "score, without images seen in training"]
    assert ranking.blocks[2].rows[0].name == "plain_sharpness (lower)"
    assert ranking.blocks[2].rows[0].cells[0].value == pytest.approx(1 - level.columns["plain_sharpness"].auroc.value)


def test_markdown_has_whole_tables_and_all_remarks() -> None:
    text = document(REPORT, "markdown")
    for part in text.split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1
    assert text.count("\n|---|") == len(tables(REPORT))
    assert "awkward\\_path" in text
    assert text.count("\n- Warning: ") == len(REPORT.warnings) > 0


def test_latex_has_whole_tables_and_remarks_as_comments() -> None:
    text = document(REPORT, "latex")
    assert text.count("\\begin{table}") == text.count("\\end{table}") == len(tables(REPORT))
    assert len(set(re.findall(r"\\label\{(.*)\}", text))) == len(tables(REPORT))
    assert "% Note: slice: a note with an awkward_path" in text
    outside = [line for line in re.sub(r"\\begin\{table\}.*?\\end\{table\}", "", text, flags=re.S).splitlines() if line]
    assert all(line.startswith("%") for line in outside)


def test_names_headings_and_titles_too_long_for_a_line_go_on_in_the_next() -> None:
    table = tables(REPORT)[0]
    long = replace(table, groups=(("a title that is longer than any line of forty characters can be", 4),))
    text = as_text(long, 40)
    assert max(map(len, text.splitlines())) <= 40
    words = re.sub(r"[\s-]+", " ", text)
    assert "a title that is longer" in words
    assert "FPR at 95 % TPR" in words
