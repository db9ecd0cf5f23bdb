"""Small tasks side by side: order, threads of torch inside and outside, errors, and the last bits of features."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread, get_ident

import pytest
import torch

from medood.core.detector import ImageSpec
from medood.core.running.one_thread_each import one_thread_each
from medood.recipe.building import extractor_of


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_that_compute_with_one(threads: int) -> None:
    def task(number: int) -> tuple[int, int, bool]:
        matrix = torch.rand(300, 300, requires_grad=True)
        return number, torch.get_num_threads(), (matrix @ matrix).requires_grad

    with torch.no_grad():
        found = one_thread_each(task, range(20))
    assert found == [(number, 1, False) for number in range(20)]


def test_nobody_else_notices(threads: int) -> None:
    seen: list[int] = []
    one_thread_each(lambda item: item, range(5))
    assert torch.get_num_threads() == threads
    stranger = Thread(target=lambda: seen.append(torch.get_num_threads()))
    stranger.start()
    stranger.join()
    assert seen == [threads]


def test_tasks_may_have_tasks(threads: int) -> None:
    def task(number: int) -> list[tuple[int, bool]]:
        here = get_ident()
        return one_thread_each(lambda more: (number + more, get_ident() == here), range(2))

    assert one_thread_each(task, range(0, 40, 10)) == [[(n, True), (n + 1, True)] for n in range(0, 40, 10)]


def test_errors_arrive(threads: int) -> None:
    def task(number: int) -> int:
        if number == 3:
            raise MemoryError("short")
        return number

    with pytest.raises(MemoryError, match="short"):
        one_thread_each(task, range(6))
    assert one_thread_each(task, range(3)) == [0, 1, 2]


def test_features_have_the_same_bits_with_any_number_of_threads() -> None:
    spec, before = ImageSpec(1, 40, 40), torch.get_num_threads()
    extractor = extractor_of({"name": "efficientnet_lite0", "weights": "random", "layers": [1, 3], "size": [64, 64]}, spec)
    images, found = torch.rand((5, 1, 40, 40), generator=torch.Generator().manual_seed(0)), {}
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        found[count] = extractor(images)
        found[-count] = [torch.cat(grids) for grids in zip(*map(extractor, images.split(1)), strict=True)]
    torch.set_num_threads(before)
    for grids in found.values():
        assert all(torch.equal(one, other) for one, other in zip(grids, found[1], strict=True))
