"""What an index holds, as sources hand it out: entries and problems that are read as they are asked for, a page of them in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from medood.core.volume import Entry, Index, Origin, Problem
from medood.index.database import Database
from medood.index.names import shown
from medood.sources.dicom.entries import DicomEntry

_DICOM_TOO = "(stage = 0 or exists (select 1 from files where kind = 'dicom' and not hidden))"

T = TypeVar("T")


class Stored(Sequence[T], Generic[T]):
    """The rows of a query as a sequence that is never in memory as a whole; going through it twice asks twice."""

    def __init__(self, database: Database, query: str, make: Any) -> None:
        self._database = database
        self._query = query
        self._make = make
        self._length = int(database.one(f"select count(*) from ({query})") or 0)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return map(self._make, self._database.rows(self._query))

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...

    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        number = place + len(self) if place < 0 else place
        if not 0 <= number < len(self):
            raise IndexError(place)
        (row,) = self._database.rows(f"{self._query} limit 1 offset {number}")
        made: T = self._make(row)
        return made


def stored_index(database: Database, root: Path) -> Index:
    """What the source `folder` finds below `root`, for as long as the database is open."""

    def entry(row: Sequence[Any]) -> Entry:
        name, patient, slices, kind, modality, manufacturer, weighting, body_part, view, kvp, study, series, issues, content = row
        said: dict[str, Any] = json.loads(content) if content else {"files": [shown(name)], "sops": (), "frames": ()}
        origin = Origin(modality, manufacturer, weighting, body_part, view, kvp, study, series, tuple(said["sops"]))
        files = tuple(root / file for file in said["files"])
        codes = tuple(issues.split(";")) if issues else ()
        if kind != "dicom":
            return Entry(shown(name), files, shown(patient), slices, origin=origin, issues=codes)
        frames = tuple((file, frame) for file, frame in said["frames"])
        return DicomEntry(shown(name), files, patient, slices, origin=origin, issues=codes, frames=frames)

    def problem(row: Sequence[Any]) -> Problem:
        path, code, message, study, series, files = row
        return Problem(shown(path), code, shown(message), study, series, tuple(json.loads(files)))

    problems = f"select path, code, message, study_uid, series_uid, files from problems where {_DICOM_TOO}"
    return Index(
        root,
        Stored(database, "select * from entries order by id", entry),
        Stored(database, f"{problems} order by path, stage, code, message", problem),
    )
