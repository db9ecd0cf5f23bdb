"""Dask's distributed scheduler as an engine. Importing this file needs `pip install medood[cluster]`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, Future, LocalCluster, get_worker
from distributed.scheduler import KilledWorker
from distributed.security import Security

from medood.core.errors import MedoodError
from medood.engines.cluster import KEPT, Answer
from medood.engines.engine import Engine

_CONNECT = 10.0  # seconds that a scheduler has to answer
_FETCH = 30.0  # seconds that a worker has to hand over the result of what it has finished
_ONE_AT_A_TIME = threading.Lock()
_MOST_WORKERS = 8  # that are started unless the user says otherwise: each holds its own copy of the libraries


class DaskCluster:
    """The workers of a scheduler, each of which is one process at work: its threads are those of torch."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._name = uuid4().hex[:8]
        self._futures: dict[int, Future] = {}
        self._ended: SimpleQueue[int] = SimpleQueue()

    def members(self) -> set[str]:
        with _lost_is_said(self._client):
            return set(self._client.nthreads())

    def give(self, number: int, address: str, function: Callable[..., Any], *arguments: Any) -> None:
        place: dict[str, Any] = {"workers": [address], "allow_other_workers": False}
        with _lost_is_said(self._client):
            future = self._client.submit(_called, function, *arguments, key=f"medood-{self._name}-{number}", pure=False, **place)
        self._futures[number] = future
        future.add_done_callback(lambda _: self._ended.put(number))

    def answers(self, seconds: float) -> list[Answer]:
        found = []
        try:
            found.append(self._ended.get(timeout=seconds))
            while True:
                found.append(self._ended.get_nowait())
        except Empty:
            pass
        futures = {number: self._futures.pop(number) for number in found if number in self._futures}
        return [_answer(number, future) for number, future in futures.items()]

    def take_back(self, number: int) -> None:
        if (future := self._futures.pop(number, None)) is not None:
            with _lost_is_said(self._client):
                future.cancel()


def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    """At the worker: one call at a time, however many threads Dask has there."""
    threads = get_worker().state.nthreads
    with _ONE_AT_A_TIME:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for a torch that the function imports; not all need one
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(threads)
        return function(*arguments)


def _answer(number: int, future: Future) -> Answer:
    """A result that its worker took into the grave is none."""
    try:
        if future.status == "error":
            error = future.exception(timeout=_FETCH)
            return Answer(number, died=True) if isinstance(error, KilledWorker) else Answer(number, error=error)
        if future.status == "finished":
            return Answer(number, future.result(timeout=_FETCH))
    except Exception:  # whatever Dask raises for a worker that is gone
        pass
    return Answer(number, died=True)


@contextmanager
def dask_cluster(engine: Engine, *, gpus: int = 0) -> Iterator[DaskCluster]:
    """The cluster of `engine`, until the block ends; with `gpus`, each of our own processes sees one of them.

    Raises MedoodError when no scheduler answers at its address.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)  # deaths and lost connections are told in our words
    if engine.kind == "cluster":
        with _connected(engine.address) as client:
            yield DaskCluster(client)
        return
    count, threads = crew_size(engine.workers, gpus)
    with _own_processes(count, threads, visible_gpus(gpus)) as cluster, Client(cluster, set_as_default=False) as client:
        yield DaskCluster(client)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:  # no such host, nobody there, somebody who speaks otherwise or wants TLS
        raise MedoodError(
            f"No Dask scheduler answers at {address} within {_CONNECT:.0f} seconds: check host and port, that `dask scheduler` runs there, "
            "and that both sides use TLS or neither does."
        ) from error
    with client:
        yield client


class _OwnProcesses(LocalCluster):
    """Worker processes on this machine, each with the next of the GPUs that there are."""

    def __init__(self, gpus: list[str], **options: Any) -> None:
        self._gpus = gpus
        super().__init__(**options)

    def new_worker_spec(self) -> dict[Any, Any]:
        ((name, spec),) = super().new_worker_spec().items()
        if self._gpus:
            seat = {"CUDA_VISIBLE_DEVICES": self._gpus[int(name) % len(self._gpus)]}
            spec = spec | {"options": spec["options"] | {"env": seat}}
        return {name: spec}


@contextmanager
def _own_processes(count: int, threads: int, gpus: list[str]) -> Iterator[LocalCluster]:
    """A scheduler on this machine that only we can talk to: what it is told, it runs, so that an open port would be an open door."""
    shut = {"distributed.worker.daemon": True, "distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
    quiet: dict[str, Any] = {"silence_logs": logging.CRITICAL, "memory_limit": None}
    quiet |= {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}  # any port, and nothing behind it
    own: dict[str, Any] = {"n_workers": 0, "threads_per_worker": threads, "processes": True, "security": Security.temporary()}
    with dask.config.set(shut), _OwnProcesses(gpus, **own, **quiet) as cluster:
        cluster.scale(count)
        yield cluster


def crew_size(workers: int | None, gpus: int) -> tuple[int, int]:
    """How many processes, and threads for each: one process for each GPU, or for each core up to a limit; the cores are shared."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers or gpus or min(cores, _MOST_WORKERS)
    return count, max(1, cores // count)


def visible_gpus(count: int) -> list[str]:
    """Names of the first `count` GPUs as CUDA_VISIBLE_DEVICES takes them: those that it names, otherwise numbers from 0."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


@contextmanager
def _lost_is_said(client: Client) -> Iterator[None]:
    """Turns the many ways in which a scheduler can be gone into one sentence."""
    try:
        if client.status not in ("running", "newly-created"):
            raise OSError("closed")
        yield
    except (OSError, RuntimeError) as error:
        raise MedoodError(f"The scheduler of the cluster does not answer any more: start it again. {KEPT}") from error
