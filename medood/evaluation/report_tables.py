"""An evaluation as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from medood.evaluation.level_report import LevelReport, Operating
from medood.metrics.intervals import Estimate

if TYPE_CHECKING:
    from medood.evaluation.report import Report
    from medood.metrics.pixel import Localisation


def tables(report: Report) -> Iterator[Table | Text]:
    """Tables of every level and of the maps, then notes and warnings."""
    for level in report.levels:
        yield Text(f"\n{level.level}: {level.normal} normal, {level.anomalous} anomalous, {level.patients} patients", style="bold")
        if level.score:
            yield _ranking_table(level)
        if level.run or level.oracle:
            yield _rates_table(level, report)
    if report.maps:
        yield _map_table(report)
    yield Text(
        "Brackets are 95 % intervals by patient. Anomalous is positive; a score above the threshold is called anomalous.", style="dim"
    )
    for note in report.notes:
        yield Text(f"Note: {note}")
    for warning in report.warnings:
        yield Text(f"Warning: {warning}", style="bold yellow")


def _ranking_table(level: LevelReport) -> Table:
    table = Table("", "AUROC", "average precision", "FPR at 95 % TPR", "AUROC of the score minus this")
    assert level.score is not None
    score = level.score
    table.add_row("score", shown(score.auroc), shown(score.average_precision), shown(score.fpr_at_95_tpr), "", end_section=True)
    for name, ranking in level.columns.items():
        auroc = shown(ranking.auroc)
        if ranking.better_auroc and ranking.better_direction == "lower":
            auroc += f"\nlower is anomalous: {ranking.better_auroc.value:.3f}"
        table.add_row(name, auroc, shown(ranking.average_precision), "", shown(ranking.difference, sign=True))
    return table


def _rates_table(level: LevelReport, report: Report) -> Table:
    table = Table("called anomalous", "threshold", "of the anomalous (TPR)", "of the normal (FPR)")
    if level.run:
        rate = report.run.get("false_alarm_rate")
        promised = "" if rate is None else f" for {100 * rate:g} % false alarms"
        table.add_row(f"by the run{promised}", *_operating(level.run))
    if level.oracle:
        table.add_row("by the oracle G-mean threshold", *_operating(level.oracle))
    return table


def _operating(operating: Operating) -> tuple[str, str, str]:
    threshold = "" if operating.threshold is None else f"{operating.threshold:.6g}"
    return threshold, shown(operating.tpr), shown(operating.fpr)


def _map_table(report: Report) -> Table:
    table = Table("maps", "pixel average precision", "AUPRO up to FPR 0.3", "oracle Dice", "lesions", "lesion share of pixels")
    names = {"map": "map of the detector", "plain": "intensity as the map"}
    for kind, found in report.maps.items():
        table.add_row(names[kind], *_map_numbers(found), str(found.lesions), f"{found.prevalence:.4f}")
    return table


def _map_numbers(found: Localisation) -> tuple[str, str, str]:
    return shown(found.average_precision), shown(found.aupro), shown(found.oracle_dice)


def shown(estimate: Estimate | None, sign: bool = False) -> str:
    """0.953 [0.913, 0.977], or the value alone when there is no interval."""
    if estimate is None:
        return ""
    form = "+.3f" if sign else ".3f"
    interval = "" if estimate.low is None else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return f"{estimate.value:{form}}{interval}"
