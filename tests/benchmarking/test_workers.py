"""Tasks side by side in processes: order, results, failures, a process that dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from medood.benchmarking.workers import Event, work_through
from medood.core.errors import MedoodError


def errand(task, worker, tell):
    """What a task says to do."""
    import torch

    what, *rest = task
    tell(f"doing {what}")
    if what == "refuse":
        raise MedoodError("This cannot be done.")
    if what == "break":
        raise ZeroDivisionError("by zero")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "meet":  # both tasks of a pair can only end when both have begun
        Path(rest[0]).touch()
        deadline = time.monotonic() + 60
        while not Path(rest[1]).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return Path(rest[1]).exists()
    if what == "hang":
        Path(rest[0]).write_text(str(os.getpid()))
        try:
            time.sleep(600)
        finally:
            Path(rest[0]).unlink()
    return (worker, torch.get_num_threads(), os.environ["OMP_NUM_THREADS"])


def _ends(events: list[Event]) -> dict[int, tuple[str, object]]:
    return {event.number: (event.kind, event.value) for event in events if event.kind in ("done", "failed")}


def test_tasks_run_at_the_same_time_and_failures_stay_their_own(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    tasks = [("meet", one, two), ("meet", two, one), ("refuse",), ("break",), ("work",)]
    events = list(work_through(tasks, errand, workers=2, threads=1))
    ends = _ends(events)
    assert ends[0] == ends[1] == ("done", True)
    assert ends[2] == ("failed", "This cannot be done.")
    assert ends[3] == ("failed", "ZeroDivisionError: by zero")
    assert ends[4][0] == "done"
    assert ends[4][1][1:] == (1, "1")
    assert "OMP_NUM_THREADS" not in os.environ, "only the processes are limited"
    for number, task in enumerate(tasks):
        kinds = [(event.kind, event.value) for event in events if event.number == number]
        assert kinds[:2] == [("begun", None), ("told", f"doing {task[0]}")]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process from outside")
def test_a_process_that_dies_costs_its_task_only():
    ends = _ends(list(work_through([("die",), ("work",), ("work",)], errand, workers=1, threads=1)))
    assert ends[0][0] == "failed"
    assert "memory ran out" in ends[0][1]
    assert [ends[i][0] for i in (1, 2)] == ["done", "done"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="looks for processes as Unix does")
def test_leaving_early_stops_the_processes(tmp_path):
    note = tmp_path / "process"
    stream = work_through([("hang", str(note))], errand, workers=1, threads=1)
    while not note.exists() or not note.read_text():
        if next(stream).kind == "told":
            time.sleep(0.2)
            break
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process = int(note.read_text())
    stream.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert not note.exists(), "what was being written is tidied up"


def test_nothing_to_do_ends_at_once():
    assert list(work_through([], errand, workers=2, threads=1)) == []
