"""An evaluation as tables, for a terminal, a Markdown page or a LaTeX document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from medood.evaluation.level_report import PLAIN, LevelReport, Operating, Ranking
from medood.evaluation.report import Report
from medood.export.table_model import Block, Number, Row, Table
from medood.export.tables import as_latex, as_markdown, as_text, markdown_text
from medood.metrics.intervals import Estimate
from medood.metrics.pixel import Localisation

Form = Literal["text", "markdown", "latex"]
Cell = Number | str | None

_KINDS = {"map": "map of the detector", "plain": "intensity as the map"}
_INTERVALS = "Brackets: 95 % interval by patient."
_NOTHING = ""


def document(report: Report, form: Form, width: int = 80) -> str:
    """All tables, then notes and warnings; text is at most `width` characters wide, and in LaTeX the notes are comments."""
    found = tables(report)
    remarks = [f"Note: {note}" for note in report.notes] + [f"Warning: {warning}" for warning in report.warnings]
    if form == "markdown":
        return "\n".join([*map(as_markdown, found), *(f"- {markdown_text(remark)}" for remark in remarks)])
    if form == "latex":
        return "\n".join([*map(as_latex, found), *(f"% {line}" for remark in remarks for line in remark.splitlines())])
    folded = [textwrap.fill(remark, width, subsequent_indent="  ", break_on_hyphens=False) for remark in remarks]
    return "\n".join([*(as_text(table, width) for table in found), *folded])


def tables(report: Report) -> list[Table]:
    """Tables of every level, then those of the maps."""
    made = [table for level in report.levels for table in _level_tables(level, report)]
    if report.maps:
        made.append(_map_table(report))
    if report.lesions:
        made.append(_lesion_table(report))
        made += _area_table(report)
    return made


def _level_tables(level: LevelReport, report: Report) -> Iterator[Table]:
    if level.score:
        yield _ranking_table(level, level.score)
    if level.run or level.oracle:
        yield _rates_table(level, report)


def _counted(level: LevelReport) -> str:
    return f"{level.level}: {level.normal} normal, {level.anomalous} anomalous, {level.patients} patients"


def _ranking_table(level: LevelReport, score: Ranking) -> Table:
    own = [Row("score", _ranked(score))]
    if level.seen and level.seen.score:
        own.append(Row("score, without images seen in training", _ranked(level.seen.score)))
    parts = [Row(name, _ranked(found)) for name, found in level.columns.items() if not name.startswith(PLAIN)]
    trivial = [
        Row(f"{name} ({found.better_direction})", _trivial(found), "trivial") for name, found in level.columns.items() if found.better_auroc
    ]
    blocks = [Block("", tuple(own)), Block("Parts of the score", tuple(parts)), Block("Trivial features", tuple(trivial))]
    count = 4 if parts or trivial else 3  # a score alone is not compared with anything
    notes = [_INTERVALS]
    if count == 4:
        notes.append("score − this: the AUROC of the score minus that of the row.")
    below = "Trivial features know nothing of anatomy; in parentheses the values taken as anomalous: those that separate better."
    return Table(
        name=f"{level.level}-ranking",
        title=_counted(level),
        groups=(("", count),),
        columns=("AUROC", "average precision", "FPR at 95 % TPR", "score − this")[:count],
        best=(None,) * count,
        blocks=tuple(
            Block(block.title, tuple(replace(row, cells=row.cells[:count]) for row in block.rows)) for block in blocks if block.rows
        ),
        notes=(*notes, *((below,) if trivial else ())),
    )


def _ranked(found: Ranking) -> tuple[Cell, ...]:
    return tuple(map(_cell, (found.auroc, found.average_precision, found.fpr_at_95_tpr, found.difference)))


def _trivial(found: Ranking) -> tuple[Cell, ...]:
    """In the better direction; average precision is known in the other one alone where low values are anomalous."""
    precision = found.average_precision if found.better_direction == "higher" else None
    return tuple(map(_cell, (found.better_auroc, precision, None, found.difference)))


def _rates_table(level: LevelReport, report: Report) -> Table:
    rows = []
    if level.run:
        rate = report.run.get("false_alarm_rate")
        rows.append(Row("run" if rate is None else f"run, for {100 * rate:g} % false alarms", _operating(level.run)))
    if level.oracle:
        rows.append(Row("oracle G-mean", _operating(level.oracle)))
    notes = [_INTERVALS, "A score above the threshold is called anomalous. The oracle's is chosen on these very labels: optimistic."]
    columns: tuple[str, ...] = ("threshold", "of the anomalous (TPR)", "of the normal (FPR)")
    groups: tuple[tuple[str, int], ...] = (("", 1), ("called anomalous", 2))
    if level.out_of_domain:
        refused = level.out_of_domain
        columns, groups = (*columns, "of the anomalous", "of the normal"), (*groups, ("out of domain", 2))
        shares = _cell(refused.of_anomalous), _cell(refused.of_normal)
        rows = [Row(row.name, (*row.cells, *(shares if row.name.startswith("run") else (_NOTHING, _NOTHING)))) for row in rows]
        notes.append(
            f"Out of domain: {refused.anomalous} anomalous and {refused.normal} normal rows that the run refused to judge. They are called "
            "neither, and count in their class."
        )
    return Table(
        f"{level.level}-rates",
        f"{_counted(level)}: decisions",
        groups,
        columns,
        (None,) * len(columns),
        (Block("", tuple(rows)),),
        tuple(notes),
    )


def _operating(found: Operating) -> tuple[Cell, ...]:
    threshold = _NOTHING if found.threshold is None else f"{found.threshold:.6g}"
    return threshold, _cell(found.tpr), _cell(found.fpr)


def _map_table(report: Report) -> Table:
    blocks = [Block("", _pixel_rows(report.maps))]
    if report.inside:
        blocks = [Block("All pixels", blocks[0].rows), Block("Inside the body", _pixel_rows(report.inside))]
    return Table(
        name="pixels",
        title=f"maps: pixels of {next(iter(report.maps.values())).patients} patients",
        groups=(("", 5),),
        columns=("average precision", "AUPRO up to FPR 0.3", "oracle Dice", "lesions", "lesion share"),
        best=(None,) * 5,
        blocks=tuple(blocks),
        notes=(_INTERVALS, "Lesion share: the share of pixels in a lesion, which is the average precision of noise."),
    )


def _pixel_rows(maps: Mapping[str, Localisation]) -> tuple[Row, ...]:
    return tuple(
        Row(_KINDS[kind], (*map(_cell, (m.average_precision, m.aupro, m.oracle_dice)), str(m.lesions), f"{m.prevalence:.4f}"))
        for kind, m in maps.items()
    )


def _lesion_table(report: Report) -> Table:
    first = next(iter(report.lesions.values()))
    rows = [Row("mean of these", tuple(_cell(found.mean_sensitivity) for found in report.lesions.values()))]
    for rate in reversed(list(first.sensitivity)):
        rows.insert(0, Row(f"{rate} per scan", tuple(_cell(found.sensitivity[rate]) for found in report.lesions.values())))
    return Table(
        name="froc",
        title=f"maps: sensitivity by false findings, {first.lesions} lesions in {first.scans} scans or images of {first.patients} patients",
        groups=(("", len(report.lesions)),),
        columns=tuple(_KINDS[kind] for kind in report.lesions),
        best=(None,) * len(report.lesions),
        blocks=(Block("", tuple(rows)),),
        notes=(_INTERVALS, "A finding is a peak of the map; it finds the lesion that it lies in, and is false outside of lesions."),
    )


def _area_table(report: Report) -> list[Table]:
    at = report.lesions["map"].at_threshold if "map" in report.lesions else None
    if at is None:
        return []
    row = Row("map", tuple(map(_cell, (at.sensitivity, at.false_per_scan, at.false_share))))
    note = "One that touches a lesion finds it, and one that touches none is false."
    title = f"maps: coloured areas, above the run's threshold of {at.threshold:.6g}"
    columns = ("lesions found", "false areas per scan", "share of areas false")
    return [Table("areas", title, (("", 3),), columns, (None,) * 3, (Block("", (row,)),), (_INTERVALS, note))]


def _cell(estimate: Estimate | None) -> Cell:
    return _NOTHING if estimate is None else Number(estimate.value, estimate.low, estimate.high)
