"""SQLite, as the queue needs it: on the disk when a change is said to be made, whatever happens then."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medood.core.errors import MedoodError

_VERSION = 2
_TABLES = """
CREATE TABLE studies(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    round INTEGER NOT NULL DEFAULT 0,
    arrivals INTEGER NOT NULL DEFAULT 0,
    arrived REAL NOT NULL,
    changed REAL NOT NULL,
    next REAL NOT NULL DEFAULT 0
);
CREATE INDEX studies_by_state ON studies(state, next);
CREATE TABLE objects(
    study INTEGER NOT NULL REFERENCES studies(id) ON DELETE CASCADE,
    sop TEXT NOT NULL,
    series TEXT NOT NULL,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    digest BLOB NOT NULL,
    round INTEGER NOT NULL DEFAULT 0,
    present INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (study, sop)
);
CREATE INDEX objects_here ON objects(study, round, bytes) WHERE present;
CREATE INDEX objects_by_path ON objects(path) WHERE present;
CREATE TABLE results(
    sop TEXT PRIMARY KEY,
    study INTEGER NOT NULL,
    path TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    declined INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX results_by_study ON results(study);
"""


class QueueFile:
    """One connection for all threads of a process, one at a time; other processes may look in meanwhile.

    Raises MedoodError when the file is damaged or of another medood.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._file = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self._file.row_factory = sqlite3.Row
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise MedoodError(f"{path} cannot be used as the queue of a node ({error}). Free some space, or move it away.") from None
        if (version := self.one("PRAGMA user_version")[0]) != _VERSION:
            raise MedoodError(
                f"{path} is the queue of another medood (version {version}, here {_VERSION}). Give this node another `folder`."
            )

    def _prepare(self) -> None:
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._file.execute(f"PRAGMA {setting}")
        with self.change():
            if self.one("PRAGMA user_version")[0] == 0:
                for statement in filter(str.strip, _TABLES.split(";")):
                    self._file.execute(statement)
                self._file.execute(f"PRAGMA user_version={_VERSION}")

    @contextmanager
    def change(self) -> Iterator[None]:
        """All changes of the block, or none; they are on the disk when it ends."""
        with self._lock:
            if self._file.in_transaction:
                yield
                return
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    def run(self, statement: str, *values: Any) -> int:
        """Number of rows that were changed."""
        with self._lock:
            return self._file.execute(statement, values).rowcount

    def all(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._file.execute(statement, values).fetchall()

    def one(self, statement: str, *values: Any) -> sqlite3.Row:
        """The first row. Raises LookupError without one."""
        rows = self.all(statement, *values)
        if not rows:
            raise LookupError
        return rows[0]

    def close(self) -> None:
        with self._lock:
            self._file.close()
