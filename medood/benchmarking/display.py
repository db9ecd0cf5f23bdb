"""What a person sees while a benchmark runs: what is being done, what is done, and how long it may still take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from medood.benchmarking.job import Order
from medood.benchmarking.workers import Event
from medood.core.console import duration


class Display:
    """A table of the runs in work on a terminal, and a line for each finished one everywhere; both on the error stream."""

    def __init__(self, orders: Sequence[Order], workers: int, console: Console | None = None) -> None:
        self.orders, self.workers = orders, workers
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.begun: dict[int, float] = {}
        self.told: dict[int, str] = {}
        self.taken: dict[int, float] = {}
        self.finished = self.failed = 0
        self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=2, transient=True)

    def show(self, event: Event) -> None:
        order = self.orders[event.number]
        if event.kind == "begun":
            self.begun[event.number], self.told[event.number] = time.monotonic(), "starting"
        elif event.kind == "told":
            self.told[event.number] = event.value
        else:
            self._end(event, order)

    def seconds_left(self) -> float | None:
        """From the runs that are done: of the same detector if there are any, otherwise of all. None before the first."""
        if not self.taken:
            return None
        waiting = [i for i in range(len(self.orders)) if i not in self.begun]
        running = [i for i in self.told if i in self.begun]
        now = time.monotonic()
        seconds = sum(self._expected(i) for i in waiting) + sum(max(0.0, self._expected(i) - (now - self.begun[i])) for i in running)
        return seconds / self.workers

    def _expected(self, number: int) -> float:
        job = self.orders[number].job
        same = [s for i, s in self.taken.items() if self.orders[i].job.detector == job.detector]
        seen = same or list(self.taken.values())
        return sum(seen) / len(seen)

    def _end(self, event: Event, order: Order) -> None:
        self.told.pop(event.number, None)
        self.finished += 1
        if event.kind == "failed":
            self.failed += 1
            text, style = f"failed: {event.value}", "red"
        else:
            seconds = event.value
            if seconds["train"]:  # a run that was there already says nothing of the others
                self.taken[event.number] = time.monotonic() - self.begun[event.number]
            trained = f"trained in {seconds['train']:.0f} s" if seconds["train"] else "was trained before"
            text, style = f"{trained}, scored in {seconds['score']:.0f} s", None
        self.console.print(f"[{self.finished}/{len(self.orders)}] {order.job.name}: {text}{self._left()}", style=style, markup=False)

    def _left(self) -> str:
        seconds = self.seconds_left()
        return "" if seconds is None else f"; about {duration(seconds)} left"

    def _table(self) -> Group:
        table = Table("run", "now", "for", box=None)
        for number, text in sorted(self.told.items()):
            table.add_row(Text(self.orders[number].job.name), Text(text), duration(time.monotonic() - self.begun[number]))
        failed = f", {self.failed} failed" if self.failed else ""
        return Group(table, Text(f"{self.finished} of {len(self.orders)} runs done{failed}{self._left()}", style="bold"))

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()
