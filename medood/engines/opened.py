"""From the choice of an engine to its workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medood.engines.cluster import Cluster
from medood.engines.engine import Engine


@contextmanager
def workers_of(engine: Engine, device: str) -> Iterator[Cluster | None]:
    """The workers of the engine, until the block ends; None where this process does the work. `device` is what they compute on."""
    if engine.kind == "local":
        yield None
        return
    import torch

    from medood.engines.dask_cluster import dask_cluster

    with dask_cluster(engine, gpus=torch.cuda.device_count() if device in ("auto", "cuda") else 0) as cluster:
        yield cluster
