"""What the measurements of time and memory share; importing it imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, TypeVar

from medood.core.running.memory import keep_freed_memory

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")


class ImagesInMemory:
    """Images (n, C, H, W) as the trainer reads them: like those of the cache they come from a numpy array, and not by torch's threads."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.numpy()

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, numbers: Any) -> Tensor:
        import torch

        return torch.from_numpy(self.images[numbers])


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """`function(*arguments)` in a new Python. Call it from a process that has not imported torch: on Linux the peak memory of a new
    process is never less than what the process that started it held at that moment."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=keep_freed_memory) as pool:  # as medood's own processes
        return pool.submit(function, *arguments).result()


def peak_mib(device: str = "cpu") -> float | None:
    """Most memory that this process has held so far, in MiB: resident, or allocated on the GPU. None where the system does not tell."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def wait_for(device: str) -> None:
    """Until the GPU has done all that it was asked to do; a clock that is read before then tells nothing."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def table(rows: list[dict[str, str]]) -> str:
    """Markdown; the keys of the first row are the columns."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
