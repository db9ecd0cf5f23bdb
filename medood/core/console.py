"""What a task tells the person who started it; to stderr, so that stdout stays free for results."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


class Console:
    """Sentences, steps with their time, and progress bars; the bars show on a terminal only. A `quiet` one says nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.rich = RichConsole(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)

    def say(self, text: str) -> None:
        self.rich.print(text, markup=False)

    def warn(self, text: str) -> None:
        self.rich.print(f"Warning: {text}", style="yellow", markup=False)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        with self.rich.status(what) if self.rich.is_terminal else _nothing():
            yield
        self.say(f"{what}: {time.perf_counter() - started:.1f} s")

    def track(self, items: Iterable[Item], what: str, total: int | None) -> Iterator[Item]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        started = time.perf_counter()
        with Progress(*columns, console=self.rich, disable=not self.rich.is_terminal, transient=True) as progress:
            yield from progress.track(items, total=total, description=what)
        self.say(f"{what}: {time.perf_counter() - started:.1f} s")


def duration(seconds: float) -> str:
    """In the unit that suits: `12 s`, `20 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1.95 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _nothing() -> Iterator[None]:
    yield
