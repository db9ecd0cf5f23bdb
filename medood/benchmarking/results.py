"""The scores of a benchmark's runs as comparisons: one detector on one cohort, its test normals against one kind of anomalous images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from medood.core.errors import MedoodError
from medood.evaluation.labelled_scores import Key, Labels, ScoredRow, patient_of, read_labels, read_scores
from medood.metrics.intervals import GroupBootstrap, clustered_rate
from medood.metrics.ranking import auroc, curve, oracle_gmean
from medood.recipe.benchmarks.comparison import Bounded, Comparison, Ranked
from medood.recipe.benchmarks.grid import INTRA

PAPER_BOOTSTRAPS = 10
"""Resamples behind the ± of the CVAD paper (section IV)."""

_PART, _PLAIN = "part_", "plain_"
_LEVELS = ("image", "slice")


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that every seed has scored, in one order. Arrays by column are (seeds, n), or (n,) where seeds cannot differ.

    keys (n,), labels (n,), groups (n,);  flagged (seeds, n) bool: the runs' own decisions, None when one made none;  refused (seeds, n)
    bool: images that the gates of the runs call unlike their training images
    """

    level: str
    keys: list[tuple[str, Key]]
    labels: np.ndarray
    groups: np.ndarray
    scores: np.ndarray
    flagged: np.ndarray | None
    refused: np.ndarray
    parts: Mapping[str, np.ndarray]
    plain: Mapping[str, np.ndarray]


def read_rows(own: Sequence[Path], outliers: Sequence[Path] | None, labels_csv: Path) -> Rows:
    """The rows to compare, from a scores.csv for each seed.

    `own` are scores of the cohort's test images; with `outliers`, scores of another set, only its normal images are taken and all images
    of the other set are anomalous. Raises MedoodError when a class is empty.
    """
    labels = read_labels(labels_csv)
    scored = [read_scores(path) for path in own]
    level = next((level for level in _LEVELS if any(row.level == level for row in scored[0])), _LEVELS[0])
    tables = [_labelled(rows, labels, level) for rows in scored]
    if outliers is not None:
        others = [_outlying(read_scores(path)) for path in outliers]
        tables = [{key: cell for key, cell in table.items() if cell[1] == 0} | other for table, other in zip(tables, others, strict=True)]
    keys = [key for key in tables[0] if all(key in table for table in tables)]
    first = [tables[0][key] for key in keys]
    found = np.array([label for _, label, _ in first], dtype=int)
    if not (found == 0).any() or not (found == 1).any():
        raise MedoodError(f"found {(found == 0).sum()} normal and {(found == 1).sum()} anomalous images with a score; both are needed")
    rows = [[table[key][0] for key in keys] for table in tables]
    return Rows(
        level=level,
        keys=keys,
        labels=found,
        groups=np.array([group for _, _, group in first]),
        scores=np.array([[row.score for row in seed] for seed in rows], dtype=float),
        flagged=_decisions(rows),
        refused=np.array([[row.out_of_domain for row in seed] for seed in rows]),
        parts=_columns(rows, _PART),
        plain={name: values[0] for name, values in _columns(rows[:1], _PLAIN).items()},
    )


def compare(
    rows: Rows,
    *,
    cohort: str,
    detector: str,
    against: str,
    seeds: Sequence[int],
    rate: float | None,
    resamples: int = 1000,
    known: dict[bytes, Ranked] | None = None,
) -> Comparison:
    """Numbers are means over the seeds; their intervals resample patients, the same ones for every seed.

    `known` keeps what was found of trivial features, for the next detectors on the same images.
    """
    bootstrap = GroupBootstrap(rows.groups, rows.labels, resamples=resamples, seed=0)
    normal, score = rows.labels == 0, _ranked(rows.scores, rows.labels, bootstrap)
    known = {} if known is None else known
    return Comparison(
        cohort=cohort,
        detector=detector,
        against=against,
        level=rows.level,
        normal=int(normal.sum()),
        anomalous=int((~normal).sum()),
        patients=len(np.unique(rows.groups)),
        seeds=tuple(seeds),
        score=score,
        gated=_ranked(_refused_first(rows), rows.labels, bootstrap) if rows.refused.any() else score,
        parts={name: _ranked(values, rows.labels, bootstrap) for name, values in rows.parts.items()},
        plain={name: _plain(values, rows, bootstrap, known) for name, values in rows.plain.items()},
        run_fpr=_rate(rows, normal),
        run_tpr=_rate(rows, ~normal),
        false_alarm_rate=rate,
    )


def false_alarm_rate(scores: Path) -> float | None:
    """What the run that made the scores promises."""
    return json.loads(scores.with_suffix(".json").read_text(encoding="utf-8"))["false_alarm_rate"]


def _labelled(rows: Sequence[ScoredRow], labels: Labels, level: str) -> dict[tuple[str, Key], tuple[ScoredRow, int, str]]:
    found = {}
    for row in rows:
        if row.level == level and row.score is not None:
            label = labels.rows.get(row.key) if row.key.slice is None else labels.of_slice(row.key.id, row.key.slice)
            if label is not None:
                found[INTRA, row.key] = (row, label, patient_of(row, labels))
    return found


def _outlying(rows: Sequence[ScoredRow]) -> dict[tuple[str, Key], tuple[ScoredRow, int, str]]:
    """All rows of another set; its patients are not those of the cohort, whatever they are called."""
    return {
        ("outlier", row.key): (row, 1, f"outlier {row.group or row.key.id}")
        for row in rows
        if row.level in _LEVELS and row.score is not None
    }


def _decisions(rows: Sequence[Sequence[ScoredRow]]) -> np.ndarray | None:
    if any(row.flagged is None for seed in rows for row in seed):
        return None
    return np.array([[row.flagged for row in seed] for seed in rows])


def _columns(rows: Sequence[Sequence[ScoredRow]], prefix: str) -> dict[str, np.ndarray]:
    """(seeds, n) of every column that each row has, by its name without the prefix."""
    names = [name for name in rows[0][0].columns if name.startswith(prefix)]
    complete = [name for name in names if all(name in row.columns for seed in rows for row in seed)]
    return {name.removeprefix(prefix): np.array([[row.columns[name] for row in seed] for seed in rows]) for name in complete}


def _ranked(scores: np.ndarray, labels: np.ndarray, bootstrap: GroupBootstrap) -> Ranked:
    """Of scores (seeds, n)."""

    def statistic(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        curves = [curve(seed, labels, weights) for seed in scores]
        oracles = [oracle_gmean(c) for c in curves]
        means = {"auroc": [auroc(c) for c in curves], "fpr": [o.fpr for o in oracles], "tpr": [o.tpr for o in oracles]}
        return {name: np.mean(values, axis=0) for name, values in means.items()}

    draws = {} if bootstrap.reason else bootstrap.draws(statistic)
    values = statistic(None)
    found = {name: _bounded(float(value), draws.get(name), bootstrap) for name, value in values.items()}
    by_seed = tuple(float(auroc(curve(seed, labels))) for seed in scores)
    return Ranked(found["auroc"], found["fpr"], found["tpr"], by_seed)


def _refused_first(rows: Rows) -> np.ndarray:
    """(seeds, n): ranks of the scores, with what a gate refuses above all that it lets in."""
    return np.array([rankdata(seed) for seed in rows.scores]) + len(rows.keys) * rows.refused


def _plain(values: np.ndarray, rows: Rows, bootstrap: GroupBootstrap, known: dict[bytes, Ranked]) -> Ranked:
    """A trivial feature (n,) in the better of both directions."""
    key = hashlib.sha256(b"".join(each.tobytes() for each in (values, rows.labels, rows.groups))).digest()
    if key not in known:
        lower = float(auroc(curve(values, rows.labels))) < 0.5
        ranked = _ranked(-values[None] if lower else values[None], rows.labels, bootstrap)
        known[key] = replace(ranked, direction="lower" if lower else "higher")
    return known[key]


def _bounded(value: float, draws: np.ndarray | None, bootstrap: GroupBootstrap) -> Bounded:
    estimate = bootstrap.estimate(value, draws)
    spread = None if draws is None else float(np.nanstd(draws[:PAPER_BOOTSTRAPS], ddof=1))
    return Bounded(estimate.value, estimate.low, estimate.high, spread)


def _rate(rows: Rows, among: np.ndarray) -> Bounded | None:
    """The share of the rows `among` (n,) that the runs call anomalous, and its interval: means over the seeds."""
    if rows.flagged is None:
        return None
    rates = [clustered_rate(seed[among], rows.groups[among]) for seed in rows.flagged]
    ends = np.array([[rate.value, rate.low, rate.high] for rate in rates], dtype=float).mean(0)
    low, high = (None if np.isnan(end) else float(end) for end in ends[1:])
    return Bounded(float(ends[0]), low, high)
