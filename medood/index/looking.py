"""Looking through a folder and reading what is new: in shards, side by side, each on disk before the next."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from medood.core.errors import MedoodError
from medood.index.database import Database
from medood.index.facts import Found, Row
from medood.index.names import shown, stored
from medood.sources.indexing import name_of, walk

SHARD = 512
"""Files that a process reads at a time."""

_FEW = 1000  # files that are read before other processes would have started
_BATCH = 20_000

T = TypeVar("T")
Shards = Iterable[Sequence[Found]]
Read = Callable[[Sequence[Found]], list[Row]]
ReadAll = Callable[[Shards], Iterable[list[Row]]]
Progress = Callable[[Iterable[list[Row]], int], Iterable[list[Row]]]


def files_in(root: Path) -> Iterator[Found]:
    """What is below a folder now; a file that cannot be asked has size -1."""
    for place, (path, is_shown) in enumerate(walk(root, hidden=True)):
        try:
            stat = path.stat()
            size, mtime = stat.st_size, stat.st_mtime_ns
        except OSError:
            size, mtime = -1, 0
        yield Found(place, name_of(path, root), size, mtime, not is_shown)


def take_stock(database: Database, files: Iterable[Found], *, in_order: bool = True) -> tuple[int, int, int]:
    """Write what is there now, and forget what has gone or changed; returns how many files there are, went, and are to be read."""
    with database.together():
        database.run("create or replace temp table looked as select * from present limit 0")
        for batch in _batches(files, _BATCH):
            database.insert("looked", [(each.place, stored(each.name), each.size, each.mtime_ns, each.hidden) for each in batch])
        database.run(
            "create or replace temp table gone as select f.name, f.by_name, f.by_study, l.name is null as lost from files f "
            "left join looked l using (name) where l.name is null or f.size <> l.size or f.mtime_ns <> l.mtime_ns or f.transient"
        )
        database.run(
            "insert into touched select by_name from gone where by_name is not null union select by_study from gone "
            "where by_study is not null"
        )
        for table in ("files", "label_maps"):
            database.run(f"delete from {table} where name in (select name from gone)")
        database.run("create or replace table present as select * from looked order by hidden, place")
        if not in_order or database.one("select bool_or(hidden) from present"):  # which were looked at last
            order = "row_number() over (order by replace(name, '/', chr(1)))"
            database.run(f"create or replace table present as select * replace ({order} as place) from present order by place")
        database.run("create or replace table unread as select p.* from present p anti join files f using (name) order by place")
        database.run("drop table looked")
    there, lost, unread = (int(database.one(f"select count(*) from {table}") or 0) for table in ("present", "gone where lost", "unread"))
    return there, lost, unread


def read_new(database: Database, read_all: ReadAll, progress: Progress) -> None:
    """Read the headers of the files that `take_stock` found new; each shard is on disk before many more are read."""
    shards = _batches(
        (Found(place, shown(name), *rest) for place, name, *rest in database.rows("select * from unread order by place")), SHARD
    )
    total = int(database.one("select count(*) from unread") or 0)
    for rows in progress(read_all(shards), total):
        with database.together():
            database.insert("files", rows)
            keys = {key for row in rows for key in (row.by_name, row.by_study) if key is not None}
            database.insert("touched", [(key,) for key in sorted(keys)])


@contextmanager
def side_by_side(read: Read, workers: int, files: int) -> Iterator[ReadAll]:
    """What maps shards to rows, in order, in processes of their own: parsing headers keeps Python busy, so threads gain nothing.

    Where there are few `files` in all it starts none.
    """
    if workers == 1 or files <= _FEW:
        yield lambda shards: map(read, shards)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:

        def each(shards: Shards) -> Iterator[list[Row]]:
            ahead: deque[Future[list[Row]]] = deque()
            waiting = iter(shards)
            try:
                while ahead or waiting:
                    ahead.extend(pool.submit(read, shard) for shard in islice(waiting, 3 * workers - len(ahead)))
                    if not ahead:
                        return
                    yield ahead.popleft().result()
            except BrokenProcessPool as error:
                raise MedoodError(
                    "A process that read headers was ended, perhaps for want of memory. The same command goes on; give it fewer --workers."
                ) from error

        try:
            yield each
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def processes() -> int:
    """As many as there are cores to use, eight at most."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch
