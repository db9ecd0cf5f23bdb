"""The tables of a blind-spot study: what became of what, and which score fails on which shift."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

import numpy as np

from medood.benchmarking.blind_spot.study import GENERATED, REAL, Case
from medood.export.tables import Block, Number, Row, Table
from medood.metrics.intervals import GroupBootstrap, clustered_rate
from medood.metrics.ranking import auroc, curve

FAILS = 0.7
"""A score with a lower AUROC against normal images fails."""

_OUTCOMES = {"normal": "in domain and normal", "anomalous": "in domain and abnormal", "out_of_domain": "out of domain"}
_RESAMPLES = 300


def study_tables(cases: Sequence[Case], notes: Sequence[str], run: str) -> list[Table]:
    """Outcomes, AUROC of every statistic, and what each fails on."""
    rates = _rates(cases)
    return [_outcomes(cases, notes, run), _aurocs(rates, run), _failures(rates, run)]


def cases_csv(cases: Sequence[Case]) -> str:
    """A row per image: what it is, what was decided, and all statistics."""
    file = io.StringIO()
    names = _statistics(cases)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["kind", "name", "id", "slice", "group", "decision", "rule", *names])
    for case in cases:
        place = [case.kind, case.name, case.id, "" if case.slice is None else case.slice, case.group, case.decision, case.rule]
        writer.writerow([*place, *(case.statistics.get(name, "") for name in names)])
    return file.getvalue()


def _outcomes(cases: Sequence[Case], notes: Sequence[str], run: str) -> Table:
    """The 3 x 3 table, and below it every single shift; once by the run's decision and once by the rule of its detector, if it has one."""
    judges: dict[str, Callable[[Case], str]] = {"Decision of the run": lambda case: case.decision}
    if any(case.rule for case in cases):
        judges["Rule of the detector: diffuse or concentrated"] = lambda case: case.rule
    rows = {title: found for title, found in _groups(cases).items() if found}
    blocks = []
    for title, judge in judges.items():
        blocks.append(Block(title, tuple(Row(f"{name} ({len(found)})", _shares(found, judge)) for name, found in rows.items())))
    counts = "Shares of the images, whose number stands in brackets; 95 % intervals by patient, of at least three."
    return Table(
        "outcomes",
        f"What {run} makes of what it is shown",
        (("", 3),),
        tuple(_OUTCOMES.values()),
        (None,) * 3,
        tuple(blocks),
        (counts, *notes),
    )


def _shares(cases: Sequence[Case], judge: Callable[[Case], str]) -> tuple[Number, ...]:
    groups = np.array([case.group for case in cases])
    found = [clustered_rate(np.array([judge(case) == outcome for case in cases]), groups) for outcome in _OUTCOMES]
    return tuple(Number(each.value, each.low, each.high) for each in found)


def _groups(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """The rows of the table of outcomes: normal, lesion, shift; then the lesions and shifts one by one."""
    found = {kind: [case for case in cases if case.kind == kind] for kind in ("normal", "lesion", "shift")}
    for kind, prefix in (("lesion", "lesion"), ("shift", "shift")):
        names = list(dict.fromkeys(case.name for case in found[kind]))
        if len(names) > 1:
            found |= {f"{prefix}: {_called(name)}": [case for case in found[kind] if case.name == name] for name in names}
    return found


def _called(name: str) -> str:
    return {GENERATED: "generated", REAL: "labelled"}.get(name, name)


Rates = dict[str, dict[str, Number]]
"""AUROC by column, then by statistic."""


def _rates(cases: Sequence[Case]) -> Rates:
    """Every statistic for lesions, shifts and each of them against normal images, and for shifts against lesions."""
    normal, names = [case for case in cases if case.kind == "normal"], _statistics(cases)
    against = {title: found for title, found in _groups(cases).items() if title != "normal" and found}
    pairs = {title: (normal, found) for title, found in against.items()}
    if {"lesion", "shift"} <= set(against):
        pairs["shift against lesion"] = against["lesion"], against["shift"]
    return {title: _aurocs_of(*pair, names) for title, pair in pairs.items()}


def _aurocs_of(negative: Sequence[Case], positive: Sequence[Case], names: Sequence[str]) -> dict[str, Number]:
    both = [*negative, *positive]
    labels = np.repeat([0, 1], [len(negative), len(positive)])
    columns = {name: np.array([case.statistics.get(name, np.nan) for case in both]) for name in names}
    whole = {name: values for name, values in columns.items() if np.isfinite(values).all()}
    bootstrap = GroupBootstrap(np.array([case.group for case in both]), labels, resamples=_RESAMPLES)
    found = bootstrap.estimates(lambda weights: {name: auroc(curve(values, labels, weights)) for name, values in whole.items()})
    return {name: Number(each.value, each.low, each.high) for name, each in found.items()}


def _statistics(cases: Sequence[Case]) -> list[str]:
    return list(dict.fromkeys(name for case in cases for name in case.statistics))


def _aurocs(rates: Rates, run: str) -> Table:
    names = list(dict.fromkeys(name for column in rates.values() for name in column))
    first = [title for title in rates if ":" not in title]
    titles = [*first, *(title for title in rates if title not in first)]
    rows = tuple(Row(name, tuple(rates[title].get(name) for title in titles)) for name in names)
    notes = (
        "Lesions and shifts against the normal images; higher is taken for less normal, so far below .5 a statistic points the other way.",
        "A safety gate wants the shifts high and the lesions near .5; a lesion detector the opposite.",
    )
    wide = len(titles) - len(first)
    groups = (("AUROC", len(first)), *((("each by itself", wide),) if wide else ()))
    heads = tuple(title.partition(": ")[2] or title for title in titles)
    return Table("auroc", f"Every score of {run}", groups, heads, (None,) * len(titles), (Block("", rows),), notes, intervals=False)


def _failures(rates: Rates, run: str) -> Table:
    """For every statistic the shifts that it does not see, the worst first."""
    singles = {title.partition(": ")[2]: column for title, column in rates.items() if title.startswith("shift: ")}
    names = list(dict.fromkeys(name for column in singles.values() for name in column))
    rows = []
    for name in names:
        missed = sorted((column[name].value, title) for title, column in singles.items() if name in column and column[name].value < FAILS)
        rows.append(
            Row(name, (f"{len(missed)} of {len(singles)}", ", ".join(f"{title} {_two(value)}" for value, title in missed) or "none"))
        )
    note = f"A score fails on a shift that it tells from normal images with an AUROC below {_two(FAILS)}."
    return Table(
        "failures",
        f"Which score of {run} fails on which shift",
        (("", 2),),
        ("fails on", "which"),
        (None,) * 2,
        (Block("", tuple(rows)),),
        (note,),
    )


def _two(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")
