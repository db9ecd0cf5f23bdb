"""How good the scores of one level (image, slice or series) are, and what a feature that knows no anatomy would have reached."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medood.evaluation.doubts import calibration_doubts, ranking_doubts, seen_doubts
from medood.evaluation.labelled_scores import LabelledRows
from medood.evaluation.level_report import PLAIN, LevelReport, Operating, Ranking, Refused, Seen
from medood.metrics.bands import Band, precision_band, roc_band
from medood.metrics.intervals import Estimate, GroupBootstrap, clustered_rate
from medood.metrics.ranking import Curve, auroc, average_precision, curve, fpr_at_tpr, oracle_gmean


def judge_level(
    rows: LabelledRows, threshold: float | None, *, resamples: int, seed: int, interval: tuple[float, float] | None = None
) -> LevelReport:
    """Judge the rows of a level. `threshold` and the `interval` of the false-alarm rate there are those of the run's calibration."""
    anomalous = int(rows.labels.sum())
    normal = len(rows.labels) - anomalous
    score, oracle, reason = None, None, ""
    columns: Mapping[str, Ranking] = {}
    points: Mapping[str, Curve] = {}
    bands: tuple[Band | None, Band | None] = None, None
    run = _run_rates(rows, threshold)
    if normal and anomalous:
        bootstrap = GroupBootstrap(rows.groups, rows.labels, resamples=resamples, seed=seed)
        score, oracle, columns = _rankings(rows, bootstrap)
        points = {name: _directed(rows, name, columns.get(name)) for name in ("score", *columns)}
        bands = roc_band(rows.scores, rows.labels, bootstrap), precision_band(rows.scores, rows.labels, bootstrap)
    else:
        reason = f"all {len(rows.labels)} labelled rows are {'anomalous' if anomalous else 'normal'}, so that nothing can be ranked"
    seen = _seen(rows, resamples, seed)
    return LevelReport(
        level=rows.level,
        normal=normal,
        anomalous=anomalous,
        patients=len(np.unique(rows.groups)),
        run=run,
        score=score,
        columns=columns,
        oracle=oracle,
        out_of_domain=_refused(rows),
        seen=seen,
        reason=reason,
        warnings=(*ranking_doubts(rows, score, columns), *seen_doubts(rows, seen, score), *calibration_doubts(rows, interval)),
        rows=rows,
        points=points,
        roc_band=bands[0],
        precision_band=bands[1],
    )


def _rankings(rows: LabelledRows, bootstrap: GroupBootstrap) -> tuple[Ranking, Operating, dict[str, Ranking]]:
    """The score and its oracle, then every column on the same resamples."""
    values, draws = _values_and_draws(rows.scores, rows.labels, bootstrap)
    estimates = {name: bootstrap.estimate(values[name], draws.get(name)) for name in values}
    threshold = float(oracle_gmean(curve(rows.scores, rows.labels)).threshold)
    score = _ranking(estimates)
    columns = {}
    for name, column in rows.columns.items():
        own, own_draws = _values_and_draws(column, rows.labels, bootstrap)
        columns[name] = _compared(name, own, own_draws, values["auroc"], draws.get("auroc"), bootstrap)
    return score, Operating(threshold, estimates["oracle_tpr"], estimates["oracle_fpr"]), columns


def _values_and_draws(scores: np.ndarray, labels: np.ndarray, bootstrap: GroupBootstrap) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    def statistic(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        c = curve(scores, labels, weights)
        oracle = oracle_gmean(c)
        numbers = {"auroc": auroc(c), "average_precision": average_precision(c), "fpr_at_95_tpr": fpr_at_tpr(c)}
        return {**numbers, "oracle_tpr": oracle.tpr, "oracle_fpr": oracle.fpr}

    values = {name: float(value) for name, value in statistic(None).items()}
    return values, {} if bootstrap.reason else bootstrap.draws(statistic)


def _compared(
    name: str,
    own: dict[str, float],
    draws: dict[str, np.ndarray],
    score: float,
    score_draws: np.ndarray | None,
    bootstrap: GroupBootstrap,
) -> Ranking:
    """A column beside the score; for a trivial feature the direction is the better one on all rows, the same in every resample."""
    lower = name.startswith(PLAIN) and own["auroc"] < 0.5
    better, better_draws = own["auroc"], draws.get("auroc")
    if lower:
        better, better_draws = 1 - better, None if better_draws is None else 1 - better_draws
    gap = None if better_draws is None or score_draws is None else score_draws - better_draws
    return Ranking(
        auroc=bootstrap.estimate(own["auroc"], draws.get("auroc")),
        average_precision=bootstrap.estimate(own["average_precision"], draws.get("average_precision")),
        better_auroc=bootstrap.estimate(better, better_draws) if name.startswith(PLAIN) else None,
        better_direction=("lower" if lower else "higher") if name.startswith(PLAIN) else None,
        difference=bootstrap.estimate(score - better, gap),
    )


def _run_rates(rows: LabelledRows, threshold: float | None) -> Operating | None:
    """Rates of the decisions in scores.csv; the threshold is named only where it leads to these very decisions."""
    flagged = rows.flagged
    if flagged is None:
        if threshold is None or rows.level == "series":
            return None
        flagged = rows.scores > threshold
    elif threshold is not None and not np.array_equal(flagged, (rows.scores > threshold) & ~rows.out_of_domain):
        threshold = None
    return Operating(threshold, *(_share(flagged, rows, label) for label in (1, 0)))


def _refused(rows: LabelledRows) -> Refused | None:
    if not rows.out_of_domain.any():
        return None
    normal, anomalous = _counts(rows.out_of_domain, rows)
    return Refused(normal, anomalous, *(_share(rows.out_of_domain, rows, label) for label in (0, 1)))


def _counts(hit: np.ndarray, rows: LabelledRows) -> tuple[int, int]:
    """How many normal and how many anomalous rows are `hit`."""
    return int(hit[rows.labels == 0].sum()), int(hit[rows.labels == 1].sum())


def _share(hit: np.ndarray, rows: LabelledRows, label: int) -> Estimate | None:
    """The share of the rows of a class that are `hit`; None without such rows."""
    among = rows.labels == label
    return clustered_rate(hit[among], rows.groups[among]) if among.any() else None


def _seen(rows: LabelledRows, resamples: int, seed: int) -> Seen | None:
    if not rows.seen.any():
        return None
    normal, anomalous = _counts(rows.seen, rows)
    new = ~rows.seen
    if len(set(rows.labels[new].tolist())) < 2:
        return Seen(normal, anomalous, None)
    bootstrap = GroupBootstrap(rows.groups[new], rows.labels[new], resamples=resamples, seed=seed)
    values, draws = _values_and_draws(rows.scores[new], rows.labels[new], bootstrap)
    return Seen(normal, anomalous, _ranking({name: bootstrap.estimate(values[name], draws.get(name)) for name in values}))


def _ranking(estimates: Mapping[str, Estimate]) -> Ranking:
    return Ranking(estimates["auroc"], estimates["average_precision"], estimates["fpr_at_95_tpr"])


def _directed(rows: LabelledRows, name: str, ranking: Ranking | None) -> Curve:
    values = rows.scores if name == "score" else rows.columns[name]
    return curve(-values if ranking and ranking.better_direction == "lower" else values, rows.labels)
