"""Preparing entries ahead of who needs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

Result = TypeVar("Result")


def side_by_side(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int,
    weight: Callable[[Item], int] = lambda item: 1,
    least: int = 1,
) -> Iterator[Result]:
    """`map` in threads that keeps the order and holds at most `ahead` results: reading overlaps with what the caller does.

    More than `ahead` are held as long as all together weigh less than `least`.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Future[Result], int]] = deque()
        held = 0
        try:
            for item in items:
                waiting.append((pool.submit(function, item), weight(item)))
                held += waiting[-1][1]
                if len(waiting) >= ahead and held >= least:
                    future, light = waiting.popleft()
                    held -= light
                    yield future.result()
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            for future, _ in waiting:
                future.cancel()
