"""What a person sees of a benchmark at work."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from medood.benchmarking import display as benchmark_display
from medood.benchmarking.display import Display
from medood.benchmarking.job import Order
from medood.benchmarking.workers import Event
from medood.recipe.benchmarks.grid import Job


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(benchmark_display.time, "monotonic", lambda: now[0])
    return now


def _display(detectors: Sequence[str], workers: int = 1, terminal: bool = False) -> tuple[Display, io.StringIO]:
    text = io.StringIO()
    orders = [Order(Job("C", name, 0, None, ""), None, None, {}, ("cpu",), False, None) for name in detectors]
    console = Console(file=text, width=100, force_terminal=terminal, highlight=False, color_system=None)
    return Display(orders, workers, console), text


def test_the_time_left_rests_on_runs_of_the_same_detector(clock):
    display, text = _display("ABAB", workers=2)
    assert display.seconds_left() is None
    display.show(Event(0, "begun"))
    display.show(Event(1, "begun"))
    clock[0] += 10
    display.show(Event(0, "done", {"train": 8.0, "score": 2.0}))
    display.show(Event(2, "begun"))
    clock[0] += 20
    display.show(Event(1, "done", {"train": 25.0, "score": 5.0}))
    assert display.seconds_left() == pytest.approx((30 + 0) / 2), "run 3 is like run 1; run 2 is overdue"
    assert "[1/4] C, A, seed 0: trained in 8 s, scored in 2 s; about" in text.getvalue()
    assert "[2/4] C, B, seed 0: trained in 25 s" in text.getvalue()


def test_runs_that_were_there_before_say_nothing_of_the_time(clock):
    display, text = _display("AA")
    display.show(Event(0, "begun"))
    display.show(Event(0, "done", {"train": 0.0, "score": 0.0}))
    assert display.seconds_left() is None
    assert "was trained before, scored in 0 s\n" in text.getvalue()


def test_a_failure_is_told_and_counted(clock):
    display, text = _display("AB")
    with display:
        display.show(Event(0, "begun"))
        display.show(Event(0, "failed", "The disk is full."))
    assert "[1/2] C, A, seed 0: failed: The disk is full." in text.getvalue()


def test_the_table_on_a_terminal_shows_what_is_being_done(clock):
    display, text = _display(["A [wide]", "B [/]"], workers=2, terminal=True)
    display.show(Event(0, "begun"))
    display.show(Event(0, "told", "generator, epoch 3 of 40"))
    clock[0] += 7
    display.console.print(display._table())
    assert "C, A [wide], seed 0" in text.getvalue()
    assert "generator, epoch 3 of 40" in text.getvalue()
    assert "7 s" in text.getvalue()
    assert "0 of 2 runs done" in text.getvalue()
