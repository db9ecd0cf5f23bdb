"""The choice of an engine: this process, worker processes of our own, or the workers of a cluster that is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from medood.core.errors import MedoodError

_ADDRESS = re.compile(r"dask://(?P<place>(\[[0-9a-fA-F:.]+\]|[^\s/:\[\]]+):\d{1,5})/?")
_KNOWN = "--engine takes local (this process), dask (processes on this machine) or dask://HOST:PORT (the scheduler of a cluster)"


@dataclass(frozen=True)
class Engine:
    """Where work is done.

    kind     "local": in this process;  "own": by worker processes that are started for it;  "cluster": by the workers of a scheduler
    address  HOST:PORT of the scheduler;  workers  how many processes to start, None: as many as suit the machine
    """

    kind: Literal["local", "own", "cluster"] = "local"
    address: str = ""
    workers: int | None = None


LOCAL = Engine()


def engine_of(text: str, workers: int | None) -> Engine:
    """The engine that --engine and --workers ask for. Raises MedoodError when there is none of that name, or its library is missing."""
    address = _ADDRESS.fullmatch(text)
    if text not in ("local", "dask") and address is None:
        raise MedoodError(f"{_KNOWN}; found {text!r}.")
    if workers is not None and text != "dask":
        why = "one process" if text == "local" else "the workers of its cluster"
        raise MedoodError(f"--workers says how many processes --engine dask starts; --engine {text} has {why}. Leave one out.")
    if text == "local":
        return LOCAL
    if any(find_spec(name) is None for name in ("dask", "distributed", "cryptography")):
        raise MedoodError(f"--engine {text} needs Dask: run `pip install medood[cluster]`.")
    return Engine("cluster", address["place"]) if address else Engine("own", workers=workers)
