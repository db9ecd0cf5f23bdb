"""Processes that work through a list of tasks side by side and tell how far they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from medood.core.errors import MedoodError

Tell = Callable[[str], None]
Function = Callable[[Any, int, Tell], Any]
"""`function(task, worker, tell)`: a function at the top of a module; `tell` says in a few words what is being done."""


@dataclass(frozen=True)
class Event:
    """What happened to the task `number`: begun, a word on how far it is, its result, or a sentence on why it failed."""

    number: int
    kind: Literal["begun", "told", "done", "failed"]
    value: Any = None


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    slot: int
    task: int | None = None


def work_through(tasks: Sequence[Any], function: Function, workers: int, threads: int) -> Iterator[Event]:
    """Carry out all tasks in `workers` processes of `threads` threads each, and yield what happens.

    A task that raises, or whose process dies, has failed; the others go on. Closing the iterator stops the processes.
    """
    waiting = deque(range(len(tasks)))
    with _environment({"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}):  # read when numpy and torch are imported
        crew = [_hire(function, slot, threads) for slot in range(min(workers, len(tasks)))]
        try:
            while waiting or any(worker.task is not None for worker in crew):
                for worker in crew:
                    if worker.task is None and waiting:
                        worker.task = waiting.popleft()
                        worker.pipe.send(tasks[worker.task])
                        yield Event(worker.task, "begun")
                busy = {worker.pipe: worker for worker in crew if worker.task is not None}
                for pipe in wait(list(busy), timeout=1.0):
                    worker = busy[pipe]  # type: ignore[index]
                    event = _heard(worker)
                    if event.kind in ("done", "failed"):
                        worker.task = None
                    if not worker.process.is_alive():
                        crew[crew.index(worker)] = _hire(function, worker.slot, threads)
                    yield event
        finally:
            _dismiss(crew)


def _heard(worker: _Worker) -> Event:
    assert worker.task is not None
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        why = "the system stopped it, most likely because memory ran out: use fewer --workers" if code == -9 else f"exit status {code}"
        return Event(worker.task, "failed", f"Its process died ({why}).")
    return Event(worker.task, kind, value)


def _hire(function: Function, slot: int, threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, function, slot, threads), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, slot)


def _work(pipe: Connection, function: Function, slot: int, threads: int) -> None:
    """The life of a process: a task, its events, the next task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who stops us
    import torch

    torch.set_num_threads(threads)

    def tell(text: str) -> None:
        pipe.send(("told", text))

    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(("done", function(task, slot, tell)))
        except BrokenPipeError:  # the parent is gone, and nobody will hear the rest
            return
        except (MedoodError, OSError) as error:
            pipe.send(("failed", str(error)))
        except Exception as error:  # a mistake of ours in one task must not cost the others
            traceback.print_exc()
            pipe.send(("failed", f"{type(error).__name__}: {error}"))


def _dismiss(crew: Sequence[_Worker]) -> None:
    for worker in crew:
        worker.pipe.close()
        if worker.task is not None:
            worker.process.terminate()
    for worker in crew:
        worker.process.join(timeout=10)
        if worker.process.is_alive():
            worker.process.kill()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started meanwhile; what the user has set stays."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
