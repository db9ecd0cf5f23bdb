"""An evaluation as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medood.evaluation.level_report import LevelReport, Ranking
from medood.evaluation.report import Report
from medood.export.figures import (
    FrocPanel,
    PrecisionPanel,
    RocPanel,
    ScorePanel,
    froc_figure,
    precision_figure,
    roc_figure,
    save_figure,
    score_figure,
)
from medood.metrics.bands import Band
from medood.metrics.intervals import Estimate
from medood.metrics.lesions import LesionDetection
from medood.metrics.ranking import precision_recall

_KINDS = {"map": "map of the detector", "plain": "intensity as the map"}


def write_figures(report: Report, out: Path) -> None:
    """scores, and roc and precision where there is a ranking, and froc where lesions were counted: each as PNG and SVG."""
    save_figure(score_figure([_score_panel(level) for level in _ranked(report.levels) or report.levels]), out, "scores")
    ranked = [(level, level.score) for level in report.levels if level.score]
    if ranked:
        save_figure(roc_figure([_roc_panel(*each) for each in ranked]), out, "roc")
        save_figure(precision_figure([_precision_panel(*each) for each in ranked]), out, "precision")
    if report.lesions:
        save_figure(froc_figure([_froc_panel(report.lesions)]), out, "froc")


def _ranked(levels: Sequence[LevelReport]) -> list[LevelReport]:
    """Levels with both classes: one class alone has nothing to be compared with."""
    return [level for level in levels if level.score]


def _score_panel(level: LevelReport) -> ScorePanel:
    threshold = level.run.threshold if level.run else None
    return ScorePanel(f"{level.level.capitalize()} scores", level.rows.scores, level.rows.labels, threshold)


def _roc_panel(level: LevelReport, score: Ranking) -> RocPanel:
    """The score, the best trivial feature, and the two operating points."""
    curves = {f"score, AUROC {_with_interval(score.auroc)}": level.points["score"]}
    if trivial := _best_trivial(level):
        better = level.columns[trivial].better_auroc
        assert better is not None
        curves[f"{trivial} ({level.columns[trivial].better_direction}), AUROC {better.value:.3f}"] = level.points[trivial]
    points = {}
    for text, operating in (("threshold of the run", level.run), ("oracle G-mean threshold", level.oracle)):
        if operating and operating.tpr and operating.fpr:
            points[text] = (operating.fpr.value, operating.tpr.value)
    return RocPanel(_title(level), {text: (c.fpr, c.tpr) for text, c in curves.items()}, points, _ends(level.roc_band))


def _precision_panel(level: LevelReport, score: Ranking) -> PrecisionPanel:
    curves = {f"score, average precision {_with_interval(score.average_precision)}": precision_recall(level.points["score"])}
    if trivial := _best_trivial(level):
        curves[f"{trivial} ({level.columns[trivial].better_direction})"] = precision_recall(level.points[trivial])
    return PrecisionPanel(_title(level), curves, level.anomalous / (level.anomalous + level.normal), _ends(level.precision_band))


def _froc_panel(lesions: Mapping[str, LesionDetection]) -> FrocPanel:
    first = next(iter(lesions.values()))
    curves = {
        f"{_KINDS[kind]}, mean sensitivity {_with_interval(found.mean_sensitivity)}": (found.rates, found.froc)
        for kind, found in lesions.items()
    }
    return FrocPanel(f"{first.lesions} lesions in {first.scans} scans, {first.patients} patients", curves, _ends(first.band))


def _best_trivial(level: LevelReport) -> str | None:
    trivial = {name: ranking.better_auroc.value for name, ranking in level.columns.items() if ranking.better_auroc}
    return max(trivial, key=lambda name: trivial[name]) if trivial else None


def _title(level: LevelReport) -> str:
    return f"{level.level.capitalize()} scores, {level.patients} patients"


def _with_interval(estimate: Estimate) -> str:
    interval = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{interval}"


def _ends(band: Band | None) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    return None if band is None else (band.x, band.low, band.high)
