"""A stream of entries to scores, rows and maps, in constant memory, whatever their number."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.console import Console
from medood.core.errors import InputError
from medood.core.shield import kind_of, shield
from medood.core.volume import Entry, Index, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.data.side_by_side import side_by_side
from medood.scoring.inference import OUT_OF_MEMORY, Scored, refusal
from medood.scoring.map_folder import MapFolder
from medood.scoring.rows import Scorer, entry_rows, failed_row, joined, problem_row
from medood.scoring.table import ScoreTable
from medood.transforms.pipeline import Pipeline, Prepared


@dataclass
class Outcome:
    """What a scoring did.

    scored, failed   entries that were, and entries and files that could not be;  rows  written to scores.csv
    skipped          slices without a score because there is too little of the body in them
    unlike           entries that are not of the kind that the run was trained on
    near_copies      entries that are near-copies of images that the run was trained or calibrated on
    without_map      entries with scores whose maps could not be written
    seconds          by stage
    """

    scored: int = 0
    failed: int = 0
    rows: int = 0
    skipped: int = 0
    unlike: int = 0
    near_copies: int = 0
    without_map: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"index": 0.0, "decode": 0.0, "score": 0.0, "write": 0.0})


@dataclass(eq=False)
class Item:
    """One entry on its way: decoded and prepared, then scored unless no slice is fit for it; or the problem that kept it from that."""

    entry: Entry
    seconds: float
    volume: Volume | None = None
    prepared: Prepared | None = None
    scored: Scored | None = None
    problem: Problem | None = None

    def fail(self, problem: Problem) -> None:
        self.problem, self.volume, self.prepared, self.scored = problem, None, None, None


def score_index(
    scorer: Scorer, source: Source, index: Index, table: ScoreTable, maps: MapFolder | None, outcome: Outcome, console: Console
) -> None:
    """Rows for every entry and problem that `table` does not have yet, and their maps."""
    first = {problem.path: problem for problem in reversed(index.problems)}  # of several the first: one row a file
    for path in dict.fromkeys(problem.path for problem in index.problems):
        if not table.has_problem(path):
            table.add([problem_row(first[path])])
            outcome.rows += 1
    waiting = [entry for entry in index.entries if not table.has(entry.id)]
    stream = console.track(read_ahead(source, scorer.pipeline, waiting), "Scoring", len(waiting))
    for group in scored_groups(scorer, stream, outcome):
        started = time.perf_counter()
        for item in group:
            rows = _rows(item, scorer, maps, index.root, outcome)
            table.add(rows)
            outcome.rows += len(rows)
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

    def refused(error: BaseException) -> InputError:
        return InputError(f"{entry.id}: the transforms cannot take it ({kind_of(error)}).", f"transforms:{kind_of(error)}")

    def read(entry: Entry) -> tuple[Volume, Prepared]:
        volume = source.read(entry)
        with shield(entry.id, refused):
            return volume, pipeline.prepare(volume)

    found = attempt(read, entry)
    seconds = time.perf_counter() - started
    return Item(entry, seconds, problem=found) if isinstance(found, Problem) else Item(entry, seconds, *found)


def score_group(scorer: Scorer, group: list[Item]) -> None:
    """Give every item of the group that has images its pooled scores; where that fails for all together, each is tried alone.

    Raises MedoodError when the run can score nothing at all any more.
    """
    good = [item for item in group if item.prepared is not None and len(item.prepared.images)]
    if not good:
        return
    if not _score_together(scorer, good):
        for item in good:
            _score_alone(scorer, item)
        if all(item.scored is None for item in good):
            scorer.check()
    for item in good:
        _pool(scorer, item)


def _score_together(scorer: Scorer, items: list[Item]) -> bool:
    """Whether it went well."""
    try:
        with shield("", refusal):
            scored = scorer.score(np.concatenate([item.prepared.images for item in items]))
    except InputError:
        return False
    begin = 0
    for item in items:
        end = begin + len(item.prepared.images)
        item.scored, begin = scored[begin:end], end
    return True


def _score_alone(scorer: Scorer, item: Item) -> None:
    """Scores or a problem for one item; while memory is short, with half as many images at a time, from then on."""
    wanted = scorer.batch_size
    while True:
        problem = _attempt_score(scorer, item)
        if problem is None or problem.code != OUT_OF_MEMORY or scorer.batch_size == 1:
            break
        scorer.batch_size //= 2
    if problem is not None:
        scorer.batch_size = wanted
        item.fail(problem)


def _pool(scorer: Scorer, item: Item) -> None:
    if item.scored is None:
        return
    made = attempt(lambda entry: scorer.pool(item.scored, item.prepared), item.entry)
    if isinstance(made, Problem):
        item.fail(made)
    else:
        item.scored = made


def _attempt_score(scorer: Scorer, item: Item) -> Problem | None:
    try:
        with shield(item.entry.id, refusal):
            item.scored = scorer.score(item.prepared.images)
    except InputError as error:
        return Problem(item.entry.id, error.code, str(error).removeprefix(f"{item.entry.id}: "))
    return None


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


def _rows(item: Item, scorer: Scorer, maps: MapFolder | None, root: Path, outcome: Outcome) -> list[dict[str, Any]]:
    """The rows of an entry, after its map: an entry with rows is complete."""
    made = item.problem or attempt(lambda entry: entry_rows(entry, item.volume, item.prepared, item.scored, scorer), item.entry)
    if isinstance(made, Problem):
        return [failed_row(item.entry, made, root)]
    if maps is not None and item.scored is not None:
        _add_map(item, made, maps, outcome)
    outcome.scored += 1
    outcome.unlike += bool(made[-1]["unlike_training"])
    outcome.skipped += sum(row["level"] == "slice" and row["status"] == "skipped" for row in made)
    return made


def _add_map(item: Item, rows: list[dict[str, Any]], maps: MapFolder, outcome: Outcome) -> None:
    """Write the map, and say in the rows what is odd about it. The scores stand even where there can be no map."""
    found = attempt(lambda _: maps.add(item.volume, item.prepared, item.scored, rows), item.entry)
    if isinstance(found, Problem):
        outcome.without_map += 1
        rows[-1]["reason"] = f"no map of it: {found.message}"
        found = (f"no_map:{found.code}",)
    for row in rows if found else ():
        row["issues"] = joined([*filter(None, row["issues"].split(";")), *found])
