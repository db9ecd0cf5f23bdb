"""The file of an index: a DuckDB database of our own layout, private to the user, whole however its writer ends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medood import __version__
from medood.core.errors import MedoodError

if TYPE_CHECKING:
    import duckdb

LAYOUT = "1"
"""Changes when the tables do, or what is read from headers; an index of another layout is made anew."""

_MEMORY = "256MB"  # beyond that DuckDB works on disk
_PAGE = 1000
_TABLES = """
create table meta (key varchar, value varchar);
create table files (
    name varchar, size bigint, mtime_ns bigint, hidden boolean, kind varchar, modality varchar,
    study_uid varchar, series_uid varchar, sop_uid varchar, patient varchar, issues varchar, problem varchar,
    by_name varchar, by_study varchar, transient boolean, answers varchar);
create table present (place bigint, name varchar, size bigint, mtime_ns bigint, hidden boolean);
create table unread (place bigint, name varchar, size bigint, mtime_ns bigint, hidden boolean);
create table touched (key varchar);
create table again (key varchar);
create table merged (study varchar, with_study varchar);
create table label_maps (name varchar, is_map boolean);
create table drafts (
    kind varchar, owner varchar, name varchar, series varchar, first_file varchar, nth bigint, patient varchar, slices bigint,
    modality varchar, manufacturer varchar, weighting varchar, body_part varchar, view varchar, kvp double, study_uid varchar,
    issues varchar, content varchar);
create table problems (
    stage integer, owner varchar, path varchar, code varchar, message varchar, study_uid varchar, series_uid varchar, files varchar);
create table entries (
    id varchar, patient varchar, slices bigint, kind varchar, modality varchar, manufacturer varchar, weighting varchar, body_part varchar,
    view varchar, kvp double, study_uid varchar, series_uid varchar, issues varchar, content varchar);
"""
"""
files     one row a file: `answers` is what its header says, `by_name` and `by_study` are keys of the files that it is grouped with,
          `transient` is one that could not be opened
present   what was in the folder the last time that somebody looked, in order;  unread  those of them whose headers are still to be read
touched   keys of groups with a file that is new, changed or gone;  again  those and the groups that they are or were merged with
merged    studies that share a series or an image and are grouped together
label_maps  whether volumes that have a twin are maps of a few whole numbers
drafts    series and single files before they are numbered;  entries  afterwards, sorted by id: what sources call entries
problems  what cannot be used, and why
"""


class Database:
    """An index that is open, for one process to write or for any number to read. Whatever DuckDB raises becomes a MedoodError."""

    def __init__(self, file: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.file = file
        self._connection = connection

    def run(self, query: str, values: Sequence[Any] = ()) -> None:
        with _explained(self.file):
            self._connection.execute(query, list(values))

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, a page of them in memory; several may be read at a time, also while something is written."""
        with _explained(self.file):
            cursor = self._connection.cursor()
            cursor.execute(query, list(values))
        while True:
            with _explained(self.file):
                page = cursor.fetchmany(_PAGE)
            if not page:
                return
            yield from page

    def one(self, query: str, values: Sequence[Any] = ()) -> Any:
        """The first value of the first row, None without one; it sees what is being written."""
        with _explained(self.file):
            row = self._connection.execute(query, list(values)).fetchone()
        return row[0] if row else None

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            self.run(f"insert into {table} select {', '.join('unnest(?)' for _ in columns)}", columns)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written in the block is there as a whole or not at all, whatever ends the process."""
        self.run("begin")
        try:
            yield
        except BaseException:
            with suppress(MedoodError):
                self.run("rollback")
            raise
        self.run("commit")

    def __getitem__(self, key: str) -> str | None:
        return self.one("select value from meta where key = ?", [key])

    def __setitem__(self, key: str, value: str) -> None:
        with self.together():
            self.run("delete from meta where key = ?", [key])
            self.run("insert into meta values (?, ?)", [key, value])

    def close(self) -> None:
        self._connection.close()


@contextmanager
def reading(file: Path) -> Iterator[Database]:
    """An index to read. Raises MedoodError when it is not there, none of ours, cut off, of another version, or never finished."""
    database = open_to_read(file)
    try:
        yield database
    finally:
        database.close()


def open_to_read(file: Path) -> Database:
    check_installed()
    if not file.is_file():
        raise MedoodError(f"There is no index {file}. Make it: medood index FOLDER --to {file}.")
    database = Database(file, _connected(file, read_only=True))
    _check(database)
    if database["whole"] != "yes":
        raise MedoodError(f"{file}: the index is not finished; the same `medood index` command goes on with it.")
    return database


@contextmanager
def writing(file: Path, root: str) -> Iterator[Database]:
    """An index to write, made if it is not there; `root` is what it is of. Only this user may read it. Raises MedoodError as `reading`."""
    check_installed()
    with _private():
        if not file.exists():
            _make(file, root)
        database = Database(file, _connected(file, read_only=False))
        try:
            _check(database)
            yield database
        finally:
            database.close()


def check_installed() -> None:
    if find_spec("duckdb") is None:
        raise MedoodError("An index needs DuckDB: run `pip install medood[index]`.")


def _make(file: Path, root: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".part-{os.getpid()}-{file.name}")
    part.unlink(missing_ok=True)
    try:
        database = Database(part, _connected(part, read_only=False))
        database.run(_TABLES)
        database.insert("meta", [("medood", "index"), ("layout", LAYOUT), ("version", __version__), ("root", root), ("whole", "no")])
        database.close()
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _connected(file: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": min(4, os.cpu_count() or 1),
        "autoinstall_known_extensions": False,
    }
    with _explained(file):
        connection = duckdb.connect(str(file), read_only=read_only, config=config)
        connection.execute("set enable_progress_bar = false")
        return connection


def _check(database: Database) -> None:
    again = f"Make it again: medood index FOLDER --to {database.file} --overwrite."
    try:
        found = dict(database.rows("select key, value from meta"))
    except MedoodError as error:
        raise MedoodError(
            f"{database.file} is not an index that medood made, or was damaged. Choose another file, or remove it."
        ) from error
    if found.get("medood") != "index":
        raise MedoodError(f"{database.file} is not an index that medood made. Choose another file.")
    if found.get("layout") != LAYOUT or found.get("version") != __version__:
        raise MedoodError(
            f"{database.file} was made by medood {found.get('version')}, this is {__version__}, which may read headers another way. {again}"
        )


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise MedoodError(_reason(file, error)) from error


def _reason(file: Path, error: Exception) -> str:
    said = str(error).lower()
    if "lock" in said:
        return f"{file}: another medood is writing this index right now; wait for it."
    if "out of memory" in said or "could not allocate" in said:
        return f"{file}: there is not enough memory for the index; close other programs."
    if "no space" in said or "write file" in said:
        return f"{file}: the index cannot be written; the disk may be full."
    if "permission" in said:
        return f"{file}: the index cannot be opened; check its permissions."
    return f"{file} is not an index that medood made, or it is cut off or damaged: remove it and make it again with `medood index`."


@contextmanager
def _private() -> Iterator[None]:
    """Whatever is created in the block is readable by this user only: DuckDB makes files of its own beside the index."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
