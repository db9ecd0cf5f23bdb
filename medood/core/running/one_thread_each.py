"""Small tasks side by side, each on one processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")

Result = TypeVar("Result")


def one_thread_each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of every item, in order, in as many threads as torch may use, each of which computes with one.

    So the last bits of a result do not depend on the number of processors, nor on the other items; and a network that is too small for
    several processors has them all at work. Gradients are off in the threads, and so is autocast.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [function(item) for item in items]
    return list(_pool(threads).map(function, items))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    pool, all_there = ThreadPoolExecutor(threads, "one_thread_each", _begin), Barrier(threads)
    for _ in pool.map(lambda _: all_there.wait(), range(threads)):
        pass
    torch.set_num_threads(threads)  # of this thread, which `_begin` has not changed, and of all new ones, which it has
    return pool


def _begin() -> None:
    torch.set_num_threads(1)  # of this thread, and of all that torch has not seen yet
    torch.get_num_threads()  # now torch has seen this one
    torch.set_grad_enabled(False)
