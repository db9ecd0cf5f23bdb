"""How good the scores of one level (image, slice or series) are, and what a feature that knows no anatomy would have reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from medood.evaluation.labelled_scores import LabelledRows
from medood.metrics.intervals import Estimate, GroupBootstrap, clustered_rate
from medood.metrics.ranking import Curve, auroc, average_precision, curve, fpr_at_tpr, oracle_gmean

PLAIN = "plain_"
_SAME_ORDER = 0.9


@dataclass(frozen=True)
class Ranking:
    """How one column ranks the rows. Of trivial features also the better of both directions; of parts and features the paired
    `difference`: AUROC of the score minus that of the column (in its better direction, if it is a trivial feature)."""

    auroc: Estimate
    average_precision: Estimate
    fpr_at_95_tpr: Estimate | None = None
    better_auroc: Estimate | None = None
    better_direction: str | None = None
    difference: Estimate | None = None


@dataclass(frozen=True)
class Operating:
    """Rates at a threshold: share of anomalous rows (tpr) and of normal rows (fpr) that are called anomalous; None without such rows."""

    threshold: float | None
    tpr: Estimate | None
    fpr: Estimate | None


@dataclass(frozen=True, eq=False)
class LevelReport:
    """Everything about one level. `score`, `columns` and `oracle` need both classes; `reason` says which is missing.

    run      rates of the run's own decisions, or None when it made none
    oracle   rates at the G-mean threshold chosen on these very labels: optimistic, for comparison with publications only
    points   the ROC curves behind the numbers, by column; not written to evaluation.json
    """

    level: str
    normal: int
    anomalous: int
    patients: int
    run: Operating | None
    score: Ranking | None
    columns: Mapping[str, Ranking]
    oracle: Operating | None
    reason: str
    warnings: tuple[str, ...]
    rows: LabelledRows
    points: Mapping[str, Curve]


def judge_level(rows: LabelledRows, threshold: float | None, *, resamples: int, seed: int, rate: float | None = None) -> LevelReport:
    """Judge the rows of a level. `threshold` and the false-alarm `rate` are those in scores.json, which made the decisions."""
    anomalous = int(rows.labels.sum())
    normal = len(rows.labels) - anomalous
    score, columns, oracle, points, reason = None, {}, None, {}, ""
    run = _run_rates(rows, threshold)
    if normal and anomalous:
        bootstrap = GroupBootstrap(rows.groups, rows.labels, resamples=resamples, seed=seed)
        score, oracle, columns = _rankings(rows, bootstrap)
        points = {name: _directed(rows, name, columns.get(name)) for name in ("score", *columns)}
    else:
        reason = f"all {len(rows.labels)} labelled rows are {'anomalous' if anomalous else 'normal'}, so that nothing can be ranked"
    return LevelReport(
        level=rows.level,
        normal=normal,
        anomalous=anomalous,
        patients=len(np.unique(rows.groups)),
        run=run,
        score=score,
        columns=columns,
        oracle=oracle,
        reason=reason,
        warnings=(*_warnings(rows, score, columns), *_broken_promise(rows.level, run, rate)),
        rows=rows,
        points=points,
    )


def _rankings(rows: LabelledRows, bootstrap: GroupBootstrap) -> tuple[Ranking, Operating, dict[str, Ranking]]:
    """The score and its oracle, then every column on the same resamples."""
    values, draws = _values_and_draws(rows.scores, rows.labels, bootstrap)
    estimates = {name: bootstrap.estimate(values[name], draws.get(name)) for name in values}
    threshold = float(oracle_gmean(curve(rows.scores, rows.labels)).threshold)
    score = Ranking(*(estimates[name] for name in ("auroc", "average_precision", "fpr_at_95_tpr")))
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
    elif threshold is not None and not np.array_equal(flagged, rows.scores > threshold):
        threshold = None
    among = (rows.labels == 1, rows.labels == 0)
    tpr, fpr = (clustered_rate(flagged[rows_of], rows.groups[rows_of]) if rows_of.any() else None for rows_of in among)
    return Operating(threshold, tpr, fpr)


def _directed(rows: LabelledRows, name: str, ranking: Ranking | None) -> Curve:
    values = rows.scores if name == "score" else rows.columns[name]
    return curve(-values if ranking and ranking.better_direction == "lower" else values, rows.labels)


def _broken_promise(level: str, run: Operating | None, rate: float | None) -> list[str]:
    """A sentence when the measured false-alarm rate contradicts the one that the run was calibrated for."""
    if run is None or run.fpr is None or rate is None or run.fpr.low is None or run.fpr.low <= rate:
        return []
    return [
        f"{level}: {run.fpr.value:.1%} of the normal rows were called anomalous, more than the {rate:.1%} that the run promises: these "
        "images differ from the normal images that it was calibrated on."
    ]


def _warnings(rows: LabelledRows, score: Ranking | None, columns: Mapping[str, Ranking]) -> list[str]:
    warnings = []
    if np.ptp(rows.scores) == 0 and len(rows.scores) > 1:
        warnings.append(f"{rows.level}: all {len(rows.scores)} scores are the same.")
    elif score and score.auroc.value < 0.5:
        warnings.append(
            f"{rows.level}: AUROC {score.auroc.value:.3f} is below 0.5: NORMAL ROWS SCORE HIGHER THAN ANOMALOUS ONES. The score is not "
            "turned round; the detector measures something else than anomaly here."
        )
    for name, values in rows.columns.items():
        if not name.startswith(PLAIN):
            continue
        if score and (better := columns[name].better_auroc) and better.value >= score.auroc.value:
            direction = columns[name].better_direction
            warnings.append(
                f"{rows.level}: the trivial feature {name} ({direction} is anomalous) reaches AUROC {better.value:.3f} and is not beaten "
                f"by the score ({score.auroc.value:.3f})."
            )
        same = _rank_correlation(rows.scores, values)
        if abs(same) > _SAME_ORDER:
            warnings.append(f"{rows.level}: the score follows the trivial feature {name} (Spearman correlation {same:.2f}).")
    return warnings


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation; 0 when there are too few rows or one column is constant."""
    if len(first) < 10 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)
