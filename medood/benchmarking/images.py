"""The images of a benchmark, found before anything is trained: what to train on, what to test on, and a fingerprint of both.

A fingerprint changes when images, patients, labels or parts do, and not when a folder moves; runs and scores keep theirs beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from medood.core.errors import MedoodError
from medood.core.files.atomic import write_json
from medood.core.volume import Entry, Index, Problem, Source
from medood.data.found import is_harmless
from medood.data.opening import open_source
from medood.data.split import of_part, split
from medood.evaluation.label_file import write_labels
from medood.recipe.benchmarks.file import OutlierSet
from medood.recipe.recipe import Recipe

Keep = Callable[[Index], Index]


@dataclass(frozen=True)
class Images:
    """Images to score: `keep` picks them from the index of `source`; `fingerprint` of what it picks."""

    source: dict[str, object]
    keep: Keep
    fingerprint: str


@dataclass(frozen=True)
class Cohort:
    """What all runs of a cohort with one split share: fingerprint of the training and held-out images, and the images to test on."""

    training: str
    own: Images


@dataclass(frozen=True)
class Unseen:
    """Picks the labelled images of patients that no run of this split has seen: of the test part alone, where there is one, so that numbers
    stand beside published ones."""

    known: frozenset[str]

    def __call__(self, index: Index) -> Index:
        tested = [e for e in index.entries if e.part == "test"] or index.entries
        entries = tuple(e for e in tested if e.group not in self.known and (e.label is not None or e.mask or e.slices > 1))
        if not entries:
            raise MedoodError(
                f"{index.root}: no labelled image is left to test on: all are of patients in training. Set patients aside with "
                "`split.test`, or name a test part in the table."
            )
        return replace(index, entries=entries, problems=())


@dataclass(frozen=True)
class Chosen:
    """Picks a set's part, thinned evenly to its limit."""

    part: str | None
    limit: int | None

    def __call__(self, index: Index) -> Index:
        entries = of_part(index, self.part).entries
        if not entries:
            raise MedoodError(f"{index.root}: found no image that can be used. `medood inspect` says what is there.")
        if self.limit is not None and len(entries) > self.limit:
            entries = tuple(entries[i * len(entries) // self.limit] for i in range(self.limit))
        return replace(index, entries=entries, problems=())


def cohort_source(recipe: Recipe) -> Source:
    name, parameters = recipe.choice("source")
    return open_source(name, parameters.pop("root", None), **parameters)


def look_at_cohort(index: Index, recipe: Recipe) -> Cohort:
    """Raises MedoodError when the images cannot be split, or none is left to test on."""
    parts = split(index, recipe)
    keep = Unseen(frozenset(entry.group for part in vars(parts).values() for entry in part))
    training = _fingerprint((name, entry) for name, part in sorted(vars(parts).items()) for entry in part)
    return Cohort(training, Images(recipe.source, keep, _fingerprint(("", entry) for entry in keep(index).entries)))


def look_at_outliers(outliers: OutlierSet) -> Images:
    """Raises MedoodError when the set has no images."""
    parameters = dict(outliers.source)
    source = open_source(parameters.pop("name"), parameters.pop("root", None), **parameters)
    keep = Chosen(outliers.part, outliers.limit)
    return Images(outliers.source, keep, _fingerprint(("", entry) for entry in keep(source.index()).entries))


def write_cohort_labels(source: Source, index: Index, out: Path) -> tuple[Problem, ...]:
    """Write the labels of a cohort, unless they are there: those of volumes take long, as their masks must be read.

    Returns what should have labels and has none, because it could not be read.
    """
    stamp, done = {"images": _fingerprint(("", entry) for entry in index.entries)}, out.with_suffix(".done.json")
    with suppress(OSError, ValueError):
        if out.is_file() and json.loads(done.read_text(encoding="utf-8")) == stamp:
            return ()
    problems = write_labels(source, out, masks=False)
    write_json(done, stamp)
    return tuple(problem for problem in problems if not is_harmless(problem))


def _fingerprint(entries: Iterable[tuple[str, Entry]]) -> str:
    facts = [(part, e.id, e.group, e.label, e.slices, _sizes([*e.files, *([e.mask] if e.mask else [])])) for part, e in entries]
    return hashlib.sha256(repr(sorted(facts, key=repr)).encode()).hexdigest()[:16]


def _sizes(files: Sequence[Path]) -> list[int]:
    return [file.stat().st_size for file in files]
