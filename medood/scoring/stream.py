"""A stream of entries to scores, rows and maps, in constant memory, whatever their number."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from medood.core.console import Console
from medood.core.errors import InputError
from medood.core.volume import Entry, Index, Source, Volume
from medood.data.side_by_side import side_by_side
from medood.scoring.inference import Scored
from medood.scoring.map_folder import MapFolder
from medood.scoring.rows import Scorer, entry_row, entry_rows, problem_row
from medood.scoring.table import ScoreTable
from medood.transforms.pipeline import Pipeline, Prepared


@dataclass
class Outcome:
    """What a scoring did.

    scored, failed   entries that were, and entries and files that could not be;  rows  written to scores.csv
    skipped          slices without a score because there is too little of the body in them
    unlike           entries that are not of the kind that the run was trained on
    seconds          by stage
    """

    scored: int = 0
    failed: int = 0
    rows: int = 0
    skipped: int = 0
    unlike: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"index": 0.0, "decode": 0.0, "score": 0.0, "write": 0.0})


@dataclass(eq=False)
class Item:
    """One entry on its way: decoded and prepared, then scored unless no slice is fit for it; or the reason why not."""

    entry: Entry
    seconds: float
    volume: Volume | None = None
    prepared: Prepared | None = None
    scored: Scored | None = None
    error: str = ""


def score_index(
    scorer: Scorer, source: Source, index: Index, table: ScoreTable, maps: MapFolder | None, outcome: Outcome, console: Console
) -> None:
    """Rows for every entry and problem that `table` does not have yet, and their maps."""
    for problem in index.problems:
        if not table.has(problem.path):
            table.add([problem_row(problem)])
    waiting = [entry for entry in index.entries if not table.has(entry.id)]
    stream = console.track(read_ahead(source, scorer.pipeline, waiting), "Scoring", len(waiting))
    for group in scored_groups(scorer, stream, outcome):
        started = time.perf_counter()
        for item in group:
            _write(item, scorer, table, maps, outcome)
        table.sync()
        outcome.seconds["write"] += time.perf_counter() - started


def scored_groups(scorer: Scorer, stream: Iterable[Item], outcome: Outcome) -> Iterator[list[Item]]:
    """The items of `stream` with their scores, in order, in groups whose images fill a batch."""
    for group in _grouped(stream, scorer.run.recipe.scoring.batch_size):
        outcome.seconds["decode"] += sum(item.seconds for item in group)
        started = time.perf_counter()
        score_group(scorer, group)
        outcome.seconds["score"] += time.perf_counter() - started
        yield group


def read_ahead(source: Source, pipeline: Pipeline, entries: Iterable[Entry]) -> Iterator[Item]:
    """Decoded and prepared entries in order; the next few are read while the caller works on one."""
    return side_by_side(lambda entry: read_item(source, pipeline, entry), entries, workers=2, ahead=4)


def read_item(source: Source, pipeline: Pipeline, entry: Entry) -> Item:
    started = time.perf_counter()
    try:
        volume = source.read(entry)
        prepared = pipeline.prepare(volume)
    except InputError as error:
        return Item(entry, time.perf_counter() - started, error=f"{error.code}: {str(error).removeprefix(entry.id + ': ')}")
    except MemoryError:
        return Item(entry, time.perf_counter() - started, error="memory: the volume is too large for the memory of this machine.")
    return Item(entry, time.perf_counter() - started, volume, prepared)


def score_group(scorer: Scorer, group: list[Item]) -> None:
    """Give every item of the group that has images its scores."""
    good = [item for item in group if item.prepared is not None and len(item.prepared.images)]
    if not good:
        return
    scored = scorer.score(np.concatenate([item.prepared.images for item in good]))
    begin = 0
    for item in good:
        end = begin + len(item.prepared.images)
        item.scored, begin = scored[begin:end], end


def _grouped(stream: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Entries together until their images fill a batch, so that single images are scored in batches too."""
    group: list[Item] = []
    images = 0
    for item in stream:
        group.append(item)
        images += 0 if item.prepared is None else len(item.prepared.images)
        if images >= size:
            yield group
            group, images = [], 0
    if group:
        yield group


def _write(item: Item, scorer: Scorer, table: ScoreTable, maps: MapFolder | None, outcome: Outcome) -> None:
    """The map first, then the rows: an entry with rows is complete."""
    if item.prepared is None or item.volume is None:
        rows = [entry_row(item.entry) | {"level": "file", "status": "error", "reason": item.error}]
    else:
        if maps is not None and item.scored is not None:
            maps.add(item.volume, item.prepared, item.scored)
        rows = entry_rows(item.entry, item.volume, item.prepared, item.scored, scorer)
        outcome.scored += 1
        outcome.unlike += bool(rows[-1]["unlike_training"])
        outcome.skipped += sum(row["level"] == "slice" and row["status"] == "skipped" for row in rows)
    table.add(rows)
    outcome.rows += len(rows)
