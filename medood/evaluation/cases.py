"""The scored images of a folder by class, and a few of them to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.volume import Entry, Problem, Source
from medood.data.attempt import attempt
from medood.data.side_by_side import side_by_side
from medood.evaluation.labelled_scores import Labels
from medood.scoring.rows import Scorer
from medood.transforms.pipeline import Prepared

Made = TypeVar("Made")


@dataclass(frozen=True)
class Place:
    """A folder to take images from: its entries, sorted by id, and the labels of a file if there are any for it."""

    name: str
    root: Path
    source: Source
    entries: Sequence[Entry]
    labels: Labels | None = None


@dataclass(frozen=True)
class Case:
    """A slice of an entry, or the one image of it, without its pixels. label is 0 normal, 1 anomalous, -1 unknown."""

    entry: Entry
    slice: int
    label: int
    score: float


@dataclass(frozen=True)
class Class:
    """Images of one kind, in ascending order of their scores."""

    title: str
    source: Source
    cases: Sequence[Case]

    def spread(self, count: int) -> list[Case]:
        """At most `count` cases from the lowest to the highest score in equal steps of rank; the middle one when one is asked for."""
        return [self.cases[rank] for rank in evenly(len(self.cases), count)]


def evenly(length: int, count: int) -> list[int]:
    """At most `count` of the numbers from 0 to length - 1, the first and the last among them; the middle one when one is asked for."""
    if count >= length:
        return list(range(length))
    return [(length - 1) // 2] if count == 1 else [round(k * (length - 1) / (count - 1)) for k in range(count)]


def classes_of(place: Place, scorer: Scorer, console: Console) -> list[Class]:
    """Score every image of a place: "normal" and "anomalous" where labels are known, and then only what has one; else one class with the
    name of the place.

    Constant memory: pixels are forgotten once scored. Raises MedoodError when nothing could be scored, or no label fits.
    """
    failed: list[str] = []
    cases = list(_scored(place, scorer, console, failed))
    if failed:
        console.warn(f"{place.root}: {len(failed)} of {len(place.entries)} series or images could not be scored; the first: {failed[0]}")
    if not cases:
        raise MedoodError(
            f"{place.root}: not one image could be scored{': ' + failed[0] if failed else '; no slice shows enough of the body'}"
        )
    cases.sort(key=lambda case: (case.score, case.entry.id, case.slice))
    known = [case for case in cases if case.label >= 0]
    if place.labels and not known:
        raise MedoodError(f"No label belongs to an image of {place.root}: `id` must be the path below that folder, as in scores.csv.")
    if not known:
        return [Class(place.name, place.source, cases)]
    by_label = {title: [case for case in known if case.label == label] for label, title in enumerate(("normal", "anomalous"))}
    return [Class(title, place.source, chosen) for title, chosen in by_label.items() if chosen]


def look_again(
    chosen: Class, cases: Sequence[Case], scorer: Scorer, work: Callable[[Prepared, int, Case], Made], failed: list[str]
) -> list[Made]:
    """What `work` makes of some cases of a class in their order, given the images of their entry, the place of the case among them, and the
    case. An entry is read once for all its slices; of one that cannot be, `failed` gets a sentence, and its cases are left out.
    """
    made: dict[int, Made] = {}

    def look(entry: Entry) -> dict[int, Made]:
        prepared = scorer.pipeline.prepare(chosen.source.read(entry))
        places = {number: place for place, number in enumerate(prepared.slices.tolist())}
        return {rank: work(prepared, places[case.slice], case) for rank, case in enumerate(cases) if case.entry.id == entry.id}

    for entry in {case.entry.id: case.entry for case in cases}.values():
        found = attempt(look, entry)
        if isinstance(found, Problem):
            failed.append(f"{found.path}: {found.message}")
        else:
            made |= found
    return [made[rank] for rank in sorted(made)]


def _scored(place: Place, scorer: Scorer, console: Console, failed: list[str]) -> Iterator[Case]:
    """A case per image that could be scored; `failed` gets a sentence per entry that could not."""

    def prepare(entry: Entry) -> tuple[Entry, Prepared | Problem]:
        return entry, attempt(lambda entry: scorer.pipeline.prepare(place.source.read(entry)), entry)

    stream = side_by_side(prepare, place.entries, workers=2, ahead=4)
    for entry, prepared in console.track(stream, f"Scoring {place.name}", len(place.entries)):
        if isinstance(prepared, Problem):
            failed.append(f"{prepared.path}: {prepared.message}")
        elif len(prepared.images):
            scores = scorer.pool(scorer.score(prepared.images), prepared).image
            for number, label, score in zip(prepared.slices.tolist(), prepared.labels.tolist(), scores.tolist(), strict=True):
                yield Case(entry, number, _label(place.labels, entry, number, label), score)


def _label(labels: Labels | None, entry: Entry, number: int, own: int) -> int:
    """What the labels file says, or, without one, the source."""
    if labels is None:
        return own
    given = labels.of_slice(entry.id, number)
    return -1 if given is None else given
