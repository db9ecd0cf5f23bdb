"""Processes that work through a list of tasks side by side and tell how far they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, cast

from medood.core.errors import MedoodError
from medood.core.running.memory import keep_freed_memory
from medood.core.running.termination import Terminated, end_undisturbed, unwind_when_terminated

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
    task: int | None = None


def work_through(tasks: Sequence[Any], function: Function, workers: int, threads: int) -> Generator[Event, None, None]:
    """Carry out all tasks in `workers` processes of `threads` threads each, and yield what happens.

    A task that raises, or whose process dies, has failed; the others go on. Closing the generator stops the processes. What the user has
    set of OMP_NUM_THREADS and MKL_NUM_THREADS holds for the libraries that ask for it; torch takes `threads`.
    """
    waiting = deque(range(len(tasks)))
    crew: list[_Worker] = []
    with _environment({"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}):  # read when numpy and torch are imported
        try:
            crew += [_hire(function, slot, threads) for slot in range(min(workers, len(tasks)))]
            while waiting or any(worker.task is not None for worker in crew):
                for slot, worker in enumerate(crew):
                    if worker.task is None and not worker.process.is_alive():
                        crew[slot] = _hire(function, slot, threads)
                    elif worker.task is None and waiting and _given(worker, tasks[waiting[0]]):
                        worker.task = waiting.popleft()
                        yield Event(worker.task, "begun")
                busy = {worker.pipe: worker for worker in crew if worker.task is not None}
                for pipe in wait(list(busy), timeout=1.0):
                    yield _heard(busy[cast(Connection, pipe)])
        finally:
            _dismiss(crew)


def _given(worker: _Worker, task: Any) -> bool:
    """Whether the worker could be given the task; one that died meanwhile cannot."""
    try:
        worker.pipe.send(task)
    except OSError:
        worker.process.join()
        return False
    return True


def _heard(worker: _Worker) -> Event:
    """The next message of a busy worker; when it is the last one, the worker is free."""
    assert worker.task is not None
    number = worker.task
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        why = "the system stopped it, most likely because memory ran out: use fewer --workers" if code == -9 else f"exit status {code}"
        kind, value = "failed", f"Its process died ({why})."
    if kind in ("done", "failed"):
        worker.task = None
    return Event(number, kind, value)


def _hire(function: Function, slot: int, threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, function, slot, threads), daemon=True)
    with _deaf_to_interrupts():  # Ctrl-C reaches the parent, who stops the others
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process that is started meanwhile ignores Ctrl-C from its first moment. Signals are the main thread's business alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """A parent that is killed cannot stop us, and whoever comes next would find us at work in the same folders."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _work(pipe: Connection, function: Function, slot: int, threads: int) -> None:
    """The life of a process: a task, its events, the next task. Terminated in the middle of one, it tidies up what it was writing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows does not hand it down
    with suppress(Terminated):
        unwind_when_terminated()
        _serve(pipe, function, slot, threads)
    end_undisturbed()


def _serve(pipe: Connection, function: Function, slot: int, threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
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
