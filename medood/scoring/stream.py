"""A stream of entries to scores, rows and maps, in constant memory, whatever their number."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from medood.core.console import Console
from medood.core.errors import InputError
from medood.core.shield import kind_of, shield
from medood.core.volume import Entry, Index, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.data.side_by_side import side_by_side
from medood.dicom_objects.kinds import NO_DICOM
from medood.scoring.inference import OUT_OF_MEMORY, Scored, refusal
from medood.scoring.map_folder import MapFolder
from medood.scoring.rows import Decoded, Scorer, entry_rows, failed_row, joined, problem_row
from medood.scoring.table import ScoreTable
from medood.transforms.pipeline import Pipeline, Prepared

if TYPE_CHECKING:
    from medood.scoring.dicom_folder import DicomFolder


@dataclass
class Outcome:
    """What a scoring did.

    scored, failed   entries that were, and entries and files that could not be;  rows  written to scores.csv
    skipped          slices without a score because there is too little of the body in them
    unlike           entries that are not of the kind that the run was trained on
    near_copies      entries that are near-copies of images that the run was trained or calibrated on
    without_map      entries with scores whose maps could not be written
    without_object   entries with scores that no DICOM object could be made of
    seconds          by stage
    """

    scored: int = 0
    failed: int = 0
    rows: int = 0
    skipped: int = 0
    unlike: int = 0
    near_copies: int = 0
    without_map: int = 0
    without_object: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"index": 0.0, "decode": 0.0, "score": 0.0, "write": 0.0})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - started

    def count(self, counts: Mapping[str, int], seconds: Mapping[str, float]) -> None:
        """Add what another process has counted."""
        for name, value in counts.items():
            setattr(self, name, getattr(self, name) + value)
        for stage, taken in seconds.items():
            self.seconds[stage] += taken


class TakesMaps(Protocol):
    """Writes the map of an entry and sees to it that it is listed; returns codes of what is odd about it."""

    def add(self, volume: Volume, prepared: Prepared, scored: Scored, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]: ...


@dataclass(eq=False)
class Item:
    """One entry on its way: decoded, then scored; or the problem that kept it from that. `seconds` is what decoding took."""

    entry: Entry
    seconds: float
    state: Decoded | Problem


def score_index(
    scorer: Scorer,
    source: Source,
    index: Index,
    table: ScoreTable,
    maps: MapFolder | None,
    outcome: Outcome,
    console: Console,
    objects: DicomFolder | None = None,
) -> None:
    """Rows for every entry and problem that `table` does not have yet, and their maps and DICOM objects."""
    add_problems(index, table, outcome)
    waiting = (entry for entry in index.entries if not table.has(entry))
    number = sum(not table.has(entry) for entry in index.entries)
    stream = console.track(read_ahead(source, scorer.pipeline, waiting, scorer.batch_size), "Scoring", number)
    for group in scored_groups(scorer, stream, outcome):
        with outcome.timed("write"):
            for item in group:
                rows = rows_of(item, scorer, maps, objects, index.root, outcome)
                table.add(rows)
                outcome.rows += len(rows)
            table.sync()


def add_problems(index: Index, table: ScoreTable, outcome: Outcome) -> None:
    """Rows for what cannot be used, of which `table` has none yet."""
    told: set[str] = set()
    for problem in index.problems:
        if problem.path not in told and not table.has_problem(problem.path):  # of several the first: one row a file
            table.add([problem_row(problem)])
            outcome.rows += 1
        told.add(problem.path)


def scored_groups(scorer: Scorer, stream: Iterable[Item], outcome: Outcome) -> Iterator[list[Item]]:
    """The items of `stream` with their scores, in order, in groups whose images fill a batch."""
    for group in _grouped(stream, scorer.run.recipe.scoring.batch_size):
        outcome.seconds["decode"] += sum(item.seconds for item in group)
        with outcome.timed("score"):
            score_group(scorer, group)
        yield group


def read_ahead(source: Source, pipeline: Pipeline, entries: Iterable[Entry], images: int = 1) -> Iterator[Item]:
    """Decoded and prepared entries in order; the next few are read while the caller works on one, and at least so many `images`."""
    return side_by_side(
        lambda entry: read_item(source, pipeline, entry), entries, workers=2, ahead=4, weight=lambda entry: entry.slices, least=images
    )


def read_item(source: Source, pipeline: Pipeline, entry: Entry) -> Item:
    started = time.perf_counter()

    def refused(error: BaseException) -> InputError:
        return InputError(f"{entry.id}: the transforms cannot take it ({kind_of(error)}).", f"transforms:{kind_of(error)}")

    def read(entry: Entry) -> Decoded:
        volume = source.read(entry)
        with shield(entry.id, refused):
            return Decoded(volume, pipeline.prepare(volume))

    found = attempt(read, entry)
    seconds = time.perf_counter() - started
    return Item(entry, seconds, found)


def score_group(scorer: Scorer, group: list[Item]) -> None:
    """Give every item of the group that has images its pooled scores, and compare all images with the run's; where that fails for all
    together, each item is tried alone.

    Raises MedoodError when the run can score nothing at all any more.
    """
    decoded = [(item, item.state) for item in group if isinstance(item.state, Decoded) and len(item.state.prepared.images)]
    if decoded:
        together = _score_together(scorer, [state.prepared.images for _, state in decoded])
        scores = together or [_score_alone(scorer, item.entry, state.prepared.images) for item, state in decoded]
        if all(isinstance(scored, Problem) for scored in scores):
            scorer.check()
        for (item, state), scored in zip(decoded, scores, strict=True):
            item.state = scored if isinstance(scored, Problem) else _pooled(scorer, item.entry, state, scored)
    _compare_group(scorer, group)


def _compare_group(scorer: Scorer, group: list[Item]) -> None:
    scored = [(item, item.state) for item in group if isinstance(item.state, Decoded)]
    if not scored:
        return
    images = [state.prepared.images for _, state in scored]
    try:
        with shield(""):
            together = scorer.compare(np.concatenate(images), _features([state for _, state in scored]))
    except InputError:
        for item, state in scored:
            item.state = _compared_alone(scorer, item.entry, state)
        return
    for (_, state), rows in zip(scored, _rows_of_each(images), strict=True):
        state.compared = together[rows]


def _compared_alone(scorer: Scorer, entry: Entry, decoded: Decoded) -> Decoded | Problem:
    return attempt(lambda _: replace(decoded, compared=scorer.compare(decoded.prepared.images, _features([decoded]))), entry)


def _features(scored: Sequence[Decoded]) -> np.ndarray | None:
    """(n, d) of all images, where the scores came with them."""
    found = [state.scored.features for state in scored if state.scored is not None and state.scored.features is not None]
    return np.concatenate(found) if found else None


def _rows_of_each(images: Sequence[np.ndarray]) -> list[slice]:
    """Where the images of each entry are when all are put together."""
    ends = np.cumsum([len(each) for each in images]).tolist()
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def _score_together(scorer: Scorer, images: Sequence[np.ndarray]) -> list[Scored | Problem] | None:
    """The scores of the images of each entry; None when that fails."""
    try:
        with shield("", refusal):
            scored = scorer.score(np.concatenate(images))
    except InputError:
        return None
    return [scored[rows] for rows in _rows_of_each(images)]


def _score_alone(scorer: Scorer, entry: Entry, images: np.ndarray) -> Scored | Problem:
    """Scores or a problem for one entry; while memory is short, with half as many images at a time, from then on."""
    wanted = scorer.batch_size
    while True:
        made = _attempt_score(scorer, entry, images)
        if not isinstance(made, Problem):
            return made
        if made.code != OUT_OF_MEMORY or scorer.batch_size == 1:
            scorer.batch_size = wanted
            return made
        scorer.batch_size //= 2


def _attempt_score(scorer: Scorer, entry: Entry, images: np.ndarray) -> Scored | Problem:
    try:
        with shield(entry.id, refusal):
            return scorer.score(images)
    except InputError as error:
        return Problem(entry.id, error.code, str(error).removeprefix(f"{entry.id}: "))


def _pooled(scorer: Scorer, entry: Entry, decoded: Decoded, scored: Scored) -> Decoded | Problem:
    return attempt(lambda _: replace(decoded, scored=scorer.pool(scored, decoded.prepared)), entry)


def _grouped(stream: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Entries together until their images fill a batch, so that single images are scored in batches too."""
    group: list[Item] = []
    images = 0
    for item in stream:
        group.append(item)
        images += len(item.state.prepared.images) if isinstance(item.state, Decoded) else 0
        if images >= size:
            yield group
            group, images = [], 0
    if group:
        yield group


def rows_of(
    item: Item, scorer: Scorer, maps: TakesMaps | None, objects: DicomFolder | None, root: Path, outcome: Outcome
) -> list[dict[str, Any]]:
    """The rows of an entry, after its map and its objects: an entry with rows is complete."""
    if isinstance(item.state, Problem):
        return [failed_row(item.entry, item.state, root)]
    decoded = item.state
    made = attempt(lambda entry: entry_rows(entry, decoded, scorer), item.entry)
    if isinstance(made, Problem):
        return [failed_row(item.entry, made, root)]
    if maps is not None:
        _add_map(decoded, made, maps, outcome)
    if objects is not None:
        _add_objects(decoded, made, objects, outcome)
    outcome.scored += 1
    outcome.unlike += made[-1].get("in_domain") == "no"
    outcome.skipped += sum(row["level"] == "slice" and row["status"] == "skipped" for row in made)
    return made


def _add_map(decoded: Decoded, rows: list[dict[str, Any]], maps: TakesMaps, outcome: Outcome) -> None:
    """Write the map, and say in the rows what is odd about it. The scores stand even where there can be no map."""
    scored = decoded.scored
    if scored is None:
        return
    found = attempt(lambda _: maps.add(decoded.volume, decoded.prepared, scored, rows), decoded.volume.entry)
    if isinstance(found, Problem):
        outcome.without_map += 1
        rows[-1]["reason"] = f"no map of it: {found.message}"
        found = (f"no_map:{found.code}",)
    for row in rows if found else ():
        row["issues"] = joined([*filter(None, row["issues"].split(";")), *found])


def _add_objects(decoded: Decoded, rows: list[dict[str, Any]], objects: DicomFolder, outcome: Outcome) -> None:
    """Write the DICOM objects, and say in the rows why there are none; of a picture that is no DICOM there can be none."""
    scored = decoded.scored
    if scored is None:
        return
    found = attempt(lambda _: objects.add(decoded.volume, decoded.prepared, scored, rows), decoded.volume.entry)
    if not isinstance(found, Problem):
        return
    outcome.without_object += 1
    if found.code != NO_DICOM:
        for row in rows:
            row["issues"] = joined([*filter(None, row["issues"].split(";")), f"no_dicom_objects:{found.code}"])
