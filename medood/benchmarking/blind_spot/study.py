"""Normal images, lesions and shifts through a run, as `medood score` would put them through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from medood.benchmarking.blind_spot.changes import Changed
from medood.benchmarking.blind_spot.lesions import blob
from medood.benchmarking.blind_spot.shifts import SHIFTS
from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.volume import Entry, Index, Source
from medood.scoring.rows import Decoded, Scorer, entry_rows
from medood.scoring.stream import Outcome, read_ahead, scored_groups

Kind = Literal["normal", "lesion", "shift"]

NORMAL, GENERATED, REAL = "normal", "generated lesion", "lesion"

_PART = "part_"
_NO_STATISTICS = "outcome", "shift_p", "lesion_p", "domain_p"
"""Parts and columns that are no statistic of which more is less normal."""

_OUTCOMES = "normal", "anomalous", "out_of_domain"


@dataclass(frozen=True)
class Case:
    """A slice or image in the study.

    kind, name   what it is, and which lesion or shift
    id, slice    whose, and which slice; None for a single image
    group        the patient
    decision     of the run: "normal", "anomalous" or "out_of_domain"
    rule         the same by the rule of a detector that has one, else ""
    statistics   by name, higher is less normal
    """

    kind: Kind
    name: str
    id: str
    slice: int | None
    group: str
    decision: str
    rule: str
    statistics: Mapping[str, float]


class Study:
    """A run, and the images of its kind to try it on.

    Images that the run was made from are left out, for it knows them. `notes` says so, and what else a reader must know.
    """

    def __init__(self, scorer: Scorer, source: Source, index: Index, seed: int, console: Console) -> None:
        self.scorer, self.source, self.seed, self.console = scorer, source, seed, console
        self.notes: list[str] = []
        self.cases: list[Case] = []
        rows = [*self._scored(source, index.entries, NORMAL)]
        fresh = [(row, label) for row, label in rows if not row.get("seen_in_training")]
        if len(fresh) < len(rows):
            self.notes.append(f"{len(rows) - len(fresh)} images that the run was made from, or near-copies of such, are left out.")
        if all(label == -1 for _, label in fresh):
            fresh = [(row, 0) for row, _ in fresh]
            self.notes.append("No label says which images are normal: all are taken to be.")
        self.cases += [_case("normal", NORMAL, row) for row, label in fresh if label == 0]
        self.cases += [_case("lesion", REAL, row) for row, label in fresh if label == 1]
        self._normal = {(case.id, case.slice) for case in self.cases if case.kind == "normal"}
        if not self._normal:
            raise MedoodError(
                f"{index.root}: no normal image is left that the run was not made from, by its id or as a near-copy: "
                "name a folder of other normal images of that kind."
            )
        known = {name for name, _ in self._normal}
        self.entries = tuple(entry for entry in index.entries if entry.id in known)

    def add_generated(self, shifts: Sequence[str] = tuple(SHIFTS)) -> None:
        """The normal images with a blob, and shifted in all these ways."""
        changes = {GENERATED: blob} | {name: SHIFTS[name] for name in shifts}
        for name, change in changes.items():
            kind: Kind = "lesion" if name == GENERATED else "shift"
            rows = self._scored(Changed(self.source, name, change, self.seed), self.entries, name)
            found = [_case(kind, name, row) for row, _ in rows]
            self.cases += [case for case in found if (case.id, case.slice) in self._normal]

    def add_shifted(self, name: str, source: Source, entries: Sequence[Entry]) -> None:
        """Images of a user that are of another kind, all of them, whatever is in them."""
        self.cases += [_case("shift", name, row) for row, _ in self._scored(source, entries, name)]

    def _scored(self, source: Source, entries: Sequence[Entry], name: str) -> Iterator[tuple[dict[str, Any], int]]:
        """The row of every slice or image that got a score, and its label: 0, 1 or -1."""
        stream, failed = self.console.track(read_ahead(source, self.scorer.pipeline, entries), f"Scoring {name}", len(entries)), 0
        for group in scored_groups(self.scorer, stream, Outcome()):
            for item in group:
                if not isinstance(item.state, Decoded):
                    failed += 1
                    continue
                prepared = item.state.prepared
                labels = dict(zip(prepared.slices.tolist(), prepared.labels.tolist(), strict=True))
                for row in entry_rows(item.entry, item.state, self.scorer):
                    if row["level"] in ("image", "slice") and row["status"] == "ok":
                        yield row, labels[0 if row["level"] == "image" else row["slice"]]
        if failed:
            self.notes.append(f"{name}: {failed} of {len(entries)} files or series could not be scored; `medood score` says why.")


def thinned(index: Index, most: int | None) -> Index:
    """At most so many entries, evenly spaced."""
    count = len(index.entries)
    if most is None or count <= most:
        return index
    return replace(index, entries=tuple(index.entries[i * count // most] for i in range(most)))


def _case(kind: Kind, name: str, row: Mapping[str, Any]) -> Case:
    statistics = {"score": float(row["score"])}
    for key, value in row.items():
        if key.startswith(_PART) and key.removeprefix(_PART) not in _NO_STATISTICS:
            statistics[key.removeprefix(_PART)] = float(value)
        elif key.endswith("_p") and value not in ("", None):
            statistics[f"1 - {key.removeprefix(_PART)}"] = 1 - float(value)
    rule = row.get(f"{_PART}outcome")
    number = None if row["level"] == "image" else int(row["slice"])
    outcome = "" if rule is None or not np.isfinite(rule) else _OUTCOMES[int(rule)]
    return Case(kind, name, row["id"], number, row["group"], row["decision"], outcome, statistics)
