"""scores.csv: appended entry by entry, valid after a crash, continued by --resume."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medood.core.errors import MedoodError
from medood.core.files.atomic import append, atomic_file
from medood.core.files.table_file import csv_line, unguarded
from medood.core.volume import Entry
from medood.metrics.trivial import PLAIN_FEATURES, POOLED_FEATURES

_COLUMNS = (
    "level",
    "id",
    "slice",
    "group",
    "study_uid",
    "series_uid",
    "sop_uid",
    "score",
    "p_value",
    "decision",
    "status",
    "reason",
    "in_domain",
    "domain_p",
    "domain_reason",
    "seen_in_training",
    "issues",
    "examined",
    "files",
)
_LAST_LEVELS = ("image", "series", "file")


class ScoreTable:
    """Rows of a scores.csv. All rows of an entry are written at once; the last of them has the level image, series or file."""

    def __init__(self, path: Path, parts: Sequence[str], *, resume: bool) -> None:
        self.columns = [*_COLUMNS, *(f"part_{name}" for name in parts), *PLAIN_FEATURES, *POOLED_FEATURES]
        self.path = path
        self.done: dict[str, str] = {}  # UIDs of the series by the ids of entries; empty of what is no DICOM
        self.problems: set[str] = set()
        self.failed = self.near_copies = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if resume and path.is_file():
                self._keep_whole_entries()
            else:
                path.write_bytes(self._bytes([dict(zip(self.columns, self.columns, strict=True))]))
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from error

    def holds(self, identifier: str) -> bool:
        """Whether an entry of this id was there when the table was opened."""
        return _written(identifier) in self.done

    def has(self, entry: Entry) -> bool:
        """Whether all rows of an entry were there when the table was opened. Raises MedoodError when they are of another series: the series
        of a folder are numbered anew when one comes or goes."""
        if self.holds(entry.id) and self.done[_written(entry.id)] != entry.origin.series_uid:
            raise MedoodError(
                f"{self.path} has scores of another series than the one that is called {entry.id} now: series were added or taken away. "
                "Score anew with --overwrite, or into another --out."
            )
        return self.holds(entry.id)

    def has_problem(self, path: str) -> bool:
        """Whether the row of a file or series that is no entry was there then. It may be called as an entry is: a folder, say."""
        return _written(path) in self.problems

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append the rows of one entry. They survive the end of this process; only `sync` makes them survive that of the machine."""
        try:
            append(self._file, self._bytes(rows))
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._count(rows)

    def _count(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The rows of one entry."""
        self.failed += any(row["status"] == "error" for row in rows)
        self.near_copies += rows[-1].get("seen_in_training") == "near_copy"

    def sync(self) -> None:
        """Hand the rows to the disk: milliseconds, so once for many entries."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        self._file.close()

    def _bytes(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        text = "".join(csv_line(row.get(key, "") for key in self.columns) for row in rows)
        return text.encode("utf-8", "backslashreplace")  # names of files need not be UTF-8

    def _keep_whole_entries(self) -> None:
        """Forget what a crash left of a last entry, and remember the entries that are complete."""
        content = self.path.read_bytes()
        content = content[: content.rfind(b"\n") + 1]
        try:
            rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise MedoodError(f"{self.path} is damaged and cannot be continued: replace it with --overwrite.") from error
        if rows and list(rows[0]) != self.columns:
            raise MedoodError(f"{self.path} has other columns than this run writes: choose another --out, or replace it with --overwrite.")
        while rows and (rows[-1]["level"] not in _LAST_LEVELS or None in rows[-1].values()):
            rows.pop()
        rows = [{key: unguarded(value) for key, value in row.items()} for row in rows]
        last = [row for row in rows if row["level"] in _LAST_LEVELS]
        entries = [row for row in last if row["level"] != "file" or row["group"]]  # an entry has a patient, a problem none
        self.done = {row["id"]: row["series_uid"] for row in entries}
        self.problems = {row["id"] for row in last if row["level"] == "file" and not row["group"]}
        for row in last:
            self._count([row])
        header = dict(zip(self.columns, self.columns, strict=True))
        with atomic_file(self.path) as part:
            part.write_bytes(self._bytes([header, *rows]))


def _written(identifier: str) -> str:
    """An id as it stands in the file."""
    return identifier.encode("utf-8", "backslashreplace").decode("utf-8")


def _unwritable(path: Path, error: OSError) -> MedoodError:
    return MedoodError(
        f"Cannot write {path}: {error.strerror or type(error).__name__}. What was scored so far is kept; "
        "free some space or choose another --out, then go on with --resume."
    )
