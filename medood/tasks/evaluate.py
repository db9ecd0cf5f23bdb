"""Scores and labels to numbers with intervals, tables and figures. Labels of anomalies enter here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medood.core.errors import InputError
from medood.core.files import write_json
from medood.evaluation.judge import judge_level
from medood.evaluation.labelled_scores import LabelledRows, join, read_labels, read_scores
from medood.evaluation.level_report import LevelReport
from medood.evaluation.localisation import judge_maps
from medood.evaluation.report import Report
from medood.metrics.pixel import Localisation

if TYPE_CHECKING:
    from medood.export.figures import RocPanel

_RUN_FACTS = ("run", "detector", "threshold", "false_alarm_rate", "false_alarm_interval", "complete")


def evaluate(
    scores_csv: Path, labels_csv: Path | None, *, maps: Path | None = None, out: Path, seed: int = 0, bootstraps: int = 1000
) -> Report:
    """Judge the scores of `medood score` by labels, and its maps by masks when `maps` is their folder.

    Without `labels_csv` the labels are those of a column `label` in the scores. Writes evaluation.json, roc.png, roc.svg, scores.png and
    scores.svg into `out`. Raises InputError for a file that cannot be understood, MedoodError when no label belongs to a score.
    """
    scored, labels = read_scores(scores_csv), read_labels(labels_csv or scores_csv)
    run = _run_facts(scores_csv.with_suffix(".json"))
    unfinished = run.pop("complete", True) is False
    joined, notes = join(scored, labels)
    levels = [_judged(rows, run, bootstraps, seed) for rows in joined]
    localised, map_notes = judge_maps(maps, labels, scored, resamples=bootstraps, seed=seed) if maps else ({}, [])
    notes += [f"{level.level}: {level.reason}." for level in levels if level.reason]
    cut = [f"{scores_csv.name}: the scoring did not finish; `medood score --resume` completes it."] if unfinished else []
    warnings = cut + [text for level in levels for text in level.warnings] + _map_warnings(localised)
    report = Report(run, levels, localised, notes + map_notes, warnings, seed, bootstraps)
    write_json(out / "evaluation.json", report.to_dict())
    _write_figures(levels, out)
    return report


def _judged(rows: LabelledRows, run: Mapping[str, Any], bootstraps: int, seed: int) -> LevelReport:
    """A level beside what the calibration says of it. Series have a calibration of their own, which scores.json does not tell."""
    interval = None if rows.level == "series" else run.get("false_alarm_interval")
    return judge_level(rows, run.get("threshold"), resamples=bootstraps, seed=seed, interval=interval)


def _run_facts(path: Path) -> dict[str, Any]:
    """What the file beside the scores says of the run; nothing when there is no such file."""
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return {name: facts[name] for name in _RUN_FACTS if name in facts}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as JSON: score again, or take the file away to evaluate without a threshold.") from error


def _map_warnings(maps: Mapping[str, Localisation]) -> list[str]:
    if {"map", "plain"} - set(maps):
        return []
    ours, plain = (maps[kind].average_precision.value for kind in ("map", "plain"))
    if plain < ours:
        return []
    return [f"maps: the intensity itself reaches a pixel average precision of {plain:.3f} and is not beaten by the map ({ours:.3f})."]


def _write_figures(levels: Sequence[LevelReport], out: Path) -> None:
    from medood.export.figures import ScorePanel, roc_figure, save_figure, score_figure

    panels = []
    for level in [level for level in levels if level.score] or levels:  # one class alone has nothing to be compared with
        threshold = level.run.threshold if level.run else None
        panels.append(ScorePanel(f"{level.level.capitalize()} scores", level.rows.scores, level.rows.labels, threshold))
    save_figure(score_figure(panels), out, "scores")
    rocs = [_roc_panel(level) for level in levels if level.score]
    if rocs:
        save_figure(roc_figure(rocs), out, "roc")


def _roc_panel(level: LevelReport) -> RocPanel:
    """The score, the best trivial feature, and the two operating points."""
    from medood.export.figures import RocPanel

    assert level.score is not None
    assert level.oracle is not None
    auroc = level.score.auroc
    interval = "" if auroc.low is None else f" [{auroc.low:.3f}, {auroc.high:.3f}]"
    curves = {f"score, AUROC {auroc.value:.3f}{interval}": level.points["score"]}
    trivial = {name: ranking.better_auroc.value for name, ranking in level.columns.items() if ranking.better_auroc}
    if trivial:
        best = max(trivial, key=lambda name: trivial[name])
        curves[f"{best} ({level.columns[best].better_direction}), AUROC {trivial[best]:.3f}"] = level.points[best]
    points = {}
    if level.run and level.run.tpr and level.run.fpr:
        points["threshold of the run"] = (level.run.fpr.value, level.run.tpr.value)
    if level.oracle.tpr and level.oracle.fpr:
        points["oracle G-mean threshold"] = (level.oracle.fpr.value, level.oracle.tpr.value)
    return RocPanel(
        f"{level.level.capitalize()} scores, {level.patients} patients", {text: (c.fpr, c.tpr) for text, c in curves.items()}, points
    )
