"""Scores and labels to numbers with intervals, tables and figures. Labels of anomalies enter here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medood.core.errors import InputError
from medood.core.files.atomic import write_json
from medood.evaluation.judge import judge_level
from medood.evaluation.labelled_scores import LabelledRows, join, read_labels, read_scores
from medood.evaluation.level_report import LevelReport
from medood.evaluation.localisation import NO_MAPS, judge_maps
from medood.evaluation.report import Report
from medood.evaluation.report_figures import write_figures
from medood.export.map_list import check_scored_together
from medood.metrics.pixel import Localisation

_RUN_FACTS = ("run", "detector", "threshold", "false_alarm_rate", "false_alarm_interval", "series_false_alarm_interval")
_NOT_SHOWN = ("complete", "run_checksum")


def evaluate(
    scores_csv: Path, labels_csv: Path | None, *, maps: Path | None = None, out: Path, seed: int = 0, bootstraps: int = 1000
) -> Report:
    """Judge as `judge` does, and write evaluation.json and the figures of `write_figures` into `out`."""
    report = judge(scores_csv, labels_csv, maps=maps, seed=seed, bootstraps=bootstraps)
    write_json(out / "evaluation.json", report.to_dict())
    write_figures(report, out)
    return report


def judge(scores_csv: Path, labels_csv: Path | None, *, maps: Path | None = None, seed: int = 0, bootstraps: int = 1000) -> Report:
    """Judge the scores of `medood score` by labels, and its maps by masks when `maps` is their folder.

    Without `labels_csv` the labels are those of a column `label` in the scores. Raises InputError for a file that cannot be understood,
    MedoodError when no label belongs to a score.
    """
    scored, labels = read_scores(scores_csv), read_labels(labels_csv or scores_csv)
    run = _run_facts(scores_csv.with_suffix(".json"))
    complete, checksum = (run.pop(name, None) for name in _NOT_SHOWN)
    joined, notes = join(scored, labels)
    levels = [_judged(rows, run, bootstraps, seed) for rows in joined]
    if maps is not None:
        check_scored_together(maps, checksum, scores_csv)
    judged = judge_maps(maps, labels, scored, resamples=bootstraps, seed=seed) if maps else NO_MAPS
    notes += [f"{level.level}: {level.reason}." for level in levels if level.reason]
    cut = [f"{scores_csv.name}: the scoring did not finish; `medood score --resume` completes it."] if complete is False else []
    notes += [f"{level.level}: no intervals: {why}." for level in levels if level.score and (why := level.score.auroc.reason)]
    warnings = cut + [text for level in levels for text in level.warnings] + _map_warnings(judged.pixels)
    return Report(run, levels, judged.pixels, judged.inside, judged.lesions, [*notes, *judged.notes], warnings, seed, bootstraps)


def _judged(rows: LabelledRows, run: Mapping[str, Any], bootstraps: int, seed: int) -> LevelReport:
    """A level beside what the calibration says of it; series have one of their own."""
    interval = run.get("series_false_alarm_interval" if rows.level == "series" else "false_alarm_interval")
    return judge_level(rows, run.get("threshold"), resamples=bootstraps, seed=seed, interval=interval)


def _run_facts(path: Path) -> dict[str, Any]:
    """What the file beside the scores says of the run; nothing when there is no such file."""
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return {name: facts[name] for name in (*_RUN_FACTS, *_NOT_SHOWN) if name in facts}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as JSON: score again, or take the file away to evaluate without a threshold.") from error


def _map_warnings(maps: Mapping[str, Localisation]) -> list[str]:
    if {"map", "plain"} - set(maps):
        return []
    ours, plain = (maps[kind].average_precision.value for kind in ("map", "plain"))
    if plain < ours:
        return []
    return [f"maps: the intensity itself reaches a pixel average precision of {plain:.3f} and is not beaten by the map ({ours:.3f})."]
