"""Headers read by the workers of an engine; the process that called them alone writes the index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from medood.core.console import Console
from medood.core.running.installed import differs, installed
from medood.engines.cluster import Cluster
from medood.engines.crew import Crew, Work
from medood.index.facts import Found, Row, deadly_row, rows_of

_DEADLY = 2  # deaths of workers with a file, after which it is not opened again
_SAMPLES = 3  # files that every worker must see


@dataclass(frozen=True, repr=False)  # logs of the engine may quote it
class _Plan:
    """All that a worker needs to know: the driver's medood, the folder and some of its files with their bytes, the key of tokens."""

    medood: str
    root: Path
    samples: tuple[Found, ...]
    key: bytes


@dataclass(frozen=True, repr=False)
class _Shard:
    """Files that are read together, and how many workers died with them."""

    files: tuple[Found, ...]
    deaths: int = 0


def read_on(cluster: Cluster, root: Path, key: bytes, console: Console, shards: Iterable[Sequence[Found]]) -> Iterator[list[Row]]:
    """Rows of all files of the shards, some at a time, in the order in which they are read.

    A file that was with two workers when they died gets a row that says so. Raises MedoodError when a worker cannot take part, or there is
    none any more.
    """
    waiting = iter(shards)
    first = next(waiting, None)
    if first is None:
        return
    dead: list[Row] = []

    def after_death(shard: _Shard) -> list[_Shard]:
        if len(shard.files) > 1 or shard.deaths + 1 < _DEADLY:
            return [_Shard((file,), shard.deaths + 1) for file in shard.files]
        dead.append(deadly_row(root, shard.files[0], key))
        return []

    plan = _Plan(installed(), root.resolve(), tuple(file for file in first if file.size >= 0)[:_SAMPLES], key)
    crew = Crew(cluster, Work(partial(_examine, plan), partial(_read, plan), after_death), console.warn)
    console.say(f"Reading headers with {crew.get_ready()} workers.")
    for _, rows in crew.carry_out(_Shard(tuple(files)) for files in chain([first], waiting)):
        yield rows + dead
        dead.clear()
    if dead:
        yield dead


def _examine(plan: _Plan, seat: int) -> str | None:
    if (why := differs(plan.medood)) is not None:
        return why
    for file in plan.samples:
        path = plan.root / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            return f"it does not see the files below {plan.root}: put them on a file system that all workers share."
    return None


def _read(plan: _Plan, shard: _Shard, seat: int) -> list[Row]:
    return rows_of(plan.root, shard.files, plan.key)
