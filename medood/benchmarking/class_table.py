"""The table of cohorts in which each class is the normal one once, as in Golan & El-Yaniv, NeurIPS 2018, table 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import mean, stdev

from medood.benchmarking.notes import notes
from medood.benchmarking.rows import NOTHING, Line, Place, Results
from medood.export.table_model import Block, Number, Row, Table
from medood.recipe.benchmarks.grid import INTRA
from medood.recipe.benchmarks.turns import Turns

MEAN = "mean"
Cell = Number | str | None


def class_tables(results: Results, lines: Sequence[Line], turns: Turns) -> Iterator[Table]:
    """One table: a block per cohort, a row per class that is normal, then their mean; a column per detector, and beside it what was
    published under its name; then what was published under other names. None without such cohorts.

    ± is the standard error over the seeds. The mean is over the classes, and is there when all of them are; its ± is the standard error of
    the means of the seeds.
    """
    if not turns:
        return
    places = [Place(each, INTRA) for names in turns.values() for each in names]
    published = dict.fromkeys(name for place in places for name in results.publication.beside.get(place.cohort, ()))
    ours = [line.name for line in lines]
    columns: list[tuple[str, Line | None]] = []
    for line in lines:
        columns += [(line.name, line), *([(line.name, None)] if line.name in published else [])]
    columns += [(name, None) for name in published if name not in ours]
    blocks = tuple(_block(results, columns, cohort, names) for cohort, names in turns.items())
    yield Table(
        name="classes",
        title="AUROC with one class normal and the others anomalous",
        groups=(("AUROC", len(columns)),),
        columns=tuple(name if line else f"{name}, published" for name, line in columns),
        best=(None,) * len(columns),
        blocks=blocks,
        notes=(
            "Each class is the normal one once. ±: standard error over the seeds, where there are several; of published figures the "
            "publication's. The mean is over the classes.",
            *([f"Published figures: {results.publication.title}."] if published else []),
            *notes(results, lines, places, blocks, intervals=False, spreads=False),
        ),
        intervals=False,
    )


def _block(results: Results, columns: Sequence[tuple[str, Line | None]], cohort: str, names: Sequence[str]) -> Block:
    cells = [[_cell(results, column, Place(name, INTRA)) for column in columns] for name in names]
    rows = [Row(name.removeprefix(f"{cohort}, "), tuple(row)) for name, row in zip(names, cells, strict=True)]
    means = [_mean(results, column, names, [row[k] for row in cells]) for k, column in enumerate(columns)]
    return Block(cohort, (*rows, Row(MEAN, tuple(means))))


def _cell(results: Results, column: tuple[str, Line | None], place: Place) -> Cell:
    name, line = column
    if line is None:
        figures = results.publication.beside.get(place.cohort, {}).get(name)
        return (figures and figures.auroc) or NOTHING
    seeds = _seeds(results, line, place)
    return Number(mean(seeds), spread=standard_error(seeds)) if seeds else None


def _mean(results: Results, column: tuple[str, Line | None], names: Sequence[str], cells: Sequence[Cell]) -> Cell:
    """Over the classes; missing as long as one of them is."""
    numbers = [cell for cell in cells if isinstance(cell, Number)]
    line = column[1]
    if len(numbers) < len(cells):
        return NOTHING if line is None else None
    if line is None:
        return Number(mean(number.value for number in numbers))
    by_class = [_seeds(results, line, Place(name, INTRA)) for name in names]
    same = len({len(seeds) for seeds in by_class}) == 1
    spread = standard_error([mean(seeds) for seeds in zip(*by_class, strict=True)]) if same else None
    return Number(mean(number.value for number in numbers), spread=spread)


def _seeds(results: Results, line: Line, place: Place) -> list[float]:
    comparison = results.comparison(place, line.detector)
    ranked = comparison and line.ranked(comparison)
    return [value for value in ranked.by_seed if math.isfinite(value)] if ranked else []


def standard_error(values: Sequence[float]) -> float | None:
    """Of the mean; None for a single value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
