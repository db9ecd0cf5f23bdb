"""The index of an archive: brought up to date by one command, and used by the others in place of looking through the folder."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.volume import Index, Source
from medood.engines.cluster import Cluster
from medood.engines.engine import LOCAL, Engine
from medood.engines.opened import workers_of
from medood.index.database import Database, reading, writing
from medood.index.facts import Found, Row, rows_of
from medood.index.grouping import Page, group
from medood.index.looking import SHARD, ReadAll, files_in, processes, read_new, side_by_side, take_stock
from medood.index.names import shown, stored
from medood.index.on_cluster import read_on
from medood.index.remote import Remote
from medood.index.stored import stored_index
from medood.index.tokens import fingerprint, secret, tokens
from medood.sources.folder import Folder
from medood.sources.indexing import name_of
from medood.sources.recall import Question, Token, remembering

_SAMPLE = 64  # files that are looked at to see whether an index is of a folder
_ENOUGH = 0.5  # of them


@dataclass(frozen=True)
class Report:
    """What bringing an index up to date did: files that are there, that went, and whose headers were read; what is there now."""

    file: Path
    files: int
    gone: int
    read: int
    entries: int
    problems: int
    seconds: float


def update(
    root: Path, file: Path, *, workers: int | None = None, engine: Engine = LOCAL, overwrite: bool = False, console: Console | None = None
) -> Report:
    """Make the index of a folder, or bring it up to date: only headers of files that are new or changed are read.

    They are read by so many `workers` here, which are processes, or by those of an engine. With `overwrite` it begins anew, whatever is in
    the file; otherwise, however it ends, the same call goes on from there. Raises MedoodError for a file that is no index, or that of
    another folder.
    """
    console, started = console or Console(), time.perf_counter()
    if not root.is_dir():
        raise MedoodError(f"There is no folder {root}; check the path.")
    if root.resolve() in file.resolve().parents:
        raise MedoodError(f"{file} is in the folder of the images. Choose another --to.")
    with workers_of(engine, "cpu") as cluster:
        _begin_anew(file, overwrite)
        return _update(_Here(root, cluster, workers or processes(), console), file, console, started)


def update_remote(remote: Remote, file: Path, *, overwrite: bool = False, console: Console | None = None) -> Report:
    """As `update`, of a folder elsewhere: its files are fetched some at a time, and only those that are new or changed."""
    with remote.alone():
        _begin_anew(file, overwrite)
        return _update(remote, file, console or Console(), time.perf_counter())


def _begin_anew(file: Path, wanted: bool) -> None:
    for part in (file, file.with_name(f"{file.name}.wal")) if wanted else ():
        part.unlink(missing_ok=True)


class _Here:
    """A folder on this computer, as `Remote` is one elsewhere."""

    def __init__(self, root: Path, cluster: Cluster | None, workers: int, console: Console) -> None:
        self.root, self._cluster, self._workers, self._console = root, cluster, workers, console

    def files(self) -> Iterator[Found]:
        return files_in(self.root)

    @contextmanager
    def reader(self, key: bytes, files: int) -> Iterator[ReadAll]:
        if self._cluster is not None:
            yield partial(read_on, self._cluster, self.root, key, self._console)
            return
        with side_by_side(partial(rows_of, self.root, key=key), self._workers, files) as read_all:
            yield read_all


def _update(place: _Here | Remote, file: Path, console: Console, started: float) -> Report:
    key, root, far = secret(), place.root, isinstance(place, Remote)
    with writing(file, str(root.resolve())) as database:
        if far:
            _require_same_folder(database, root)
        else:
            _take_on(database, root, console)
        _require_key(database, key)
        database["whole"] = "no"
        with console.step("Looking through the folder"):
            there, gone, unread = take_stock(database, place.files(), in_order=not far)
        with place.reader(key, unread) as read_all:
            read_new(database, read_all, lambda shards, total: _tracked(console, shards, total))
        with console.step("Grouping"):
            group(database, root, tokens(key))
        database["whole"] = "yes"
        found = stored_index(database, root)
        return Report(file, there, gone, unread, len(found.entries), len(found.problems), time.perf_counter() - started)


@contextmanager
def held_by(source: Source, root: Path, file: Path, console: Console, far: bool) -> Iterator[Index]:
    """What a source finds below its folder, which may be a mirror of one `far` away, out of the index in a file."""
    plain = type(source) is Folder and source.csv is None
    if far and not plain:
        raise MedoodError("Cohorts and tables are read from a folder on this computer only: copy the images here.")
    with reading(file) as database:
        _require_same_folder(database, root)
        if not far:
            _look_at_some(database, root, console)
        if plain:
            yield stored_index(database, root)
            return
        with remembering(_Headers(database, root)):
            index = source.index()
        yield index


class _Headers:
    """A memory of all files of an index that have not changed; sources ask in order, so a page is read ahead."""

    def __init__(self, database: Database, root: Path, page: int = 2000) -> None:
        self._database, self._root, self._size = database, root, page
        self._page: dict[str, tuple[int, int]] = {}
        self._answers = Page(root, (), self.token)
        self._tokens: Token | None = None

    def token(self, text: str) -> str:
        if self._tokens is None:
            _require_key(self._database, secret())
            self._tokens = tokens(secret())
        return self._tokens(text)

    def get(self, question: Question, path: Path) -> Any:
        if not path.is_relative_to(self._root):
            return None
        name = stored(name_of(path, self._root))
        if name not in self._page:
            self._turn_to(name)
        return self._answers.get(question, path) if name in self._page and self._page[name] == _looks(path) else None

    def put(self, question: Question, path: Path, answer: Any) -> None:
        """Commands that only use an index never write it."""

    def _turn_to(self, name: str) -> None:
        first = self._database.one("select min(rowid) from files where name = ?", [name])
        if first is None:
            return
        query = "select name, answers, size, mtime_ns from files where rowid >= ? and rowid < ? and not transient"
        rows = list(self._database.rows(query, [first, first + self._size]))
        self._page = {row[0]: (row[2], row[3]) for row in rows}
        self._answers = Page(self._root, rows, self.token)


def _take_on(database: Database, root: Path, console: Console) -> None:
    """Let an index go on with its folder, or with what is the same folder in another place."""
    before, now = database["root"] or "", str(root.resolve())
    if before == now:
        return
    fit, seen = _fitting(database, root)
    if fit < _ENOUGH * seen:
        raise MedoodError(
            f"{database.file} is the index of {before}, and of {seen} files of it only {fit} are below {root} as they were. Choose another "
            "--to, or name the folder that it is of."
        )
    console.say(f"The index was made where the folder was {before}; {fit} of {seen} files that were looked at are here as they were.")
    with database.together():  # series that lie at the top, or in several folders there, are called after it
        database.run(
            "insert into touched select owner from drafts where kind = 'dicom' and name = ?", [stored(Path(before).name or "root")]
        )
    database["root"] = now


def _require_same_folder(database: Database, root: Path) -> None:
    before = database["root"]
    if before != str(root.resolve()):
        raise MedoodError(
            f"{database.file} is the index of {before}, not of {root}. If the folder was moved, `medood index {root} --to {database.file}` "
            "takes it on without reading it again."
        )


def _look_at_some(database: Database, root: Path, console: Console) -> None:
    """Warn when the folder is not any more what the index says. Raises MedoodError when nothing is left of it."""
    fit, seen = _fitting(database, root)
    if seen and not fit:
        raise MedoodError(
            f"None of {seen} files of the index {database.file} is below {root} as it was: bring it up to date with `medood index`."
        )
    if fit < seen:
        console.warn(
            f"{seen - fit} of {seen} files that were looked at are gone or changed since {database.file} was made: `medood index` mends it."
        )


def _fitting(database: Database, root: Path) -> tuple[int, int]:
    """How many of some files, drawn by lot, are as the index says, and how many they are."""
    count = int(database.one("select count(*) from files where size >= 0") or 0)
    places = random.Random(count).sample(range(count), min(_SAMPLE, count))
    rows = [
        row for place in places for row in database.rows(f"select name, size, mtime_ns from files where size >= 0 limit 1 offset {place}")
    ]
    return sum(_looks(root / shown(name)) == (size, mtime) for name, size, mtime in rows), len(rows)


def _looks(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def _require_key(database: Database, key: bytes) -> None:
    kept = database["key"]
    if kept is None:
        database["key"] = fingerprint(key)
    elif kept != fingerprint(key):
        raise MedoodError(
            f"{database.file} was begun by another user or on another computer, whose tokens of patients cannot be made here. What is "
            "indexed can be used with --index; to go on, make an index of your own with another --to."
        )


def _tracked(console: Console, shards: Iterable[list[Row]], files: int) -> Iterable[list[Row]]:
    return console.track(shards, f"Reading the headers of {files} files", -(-files // SHARD)) if files else shards
