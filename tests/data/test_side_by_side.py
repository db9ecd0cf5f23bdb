"""Reading ahead of who needs it: in order, as far as is said and no farther."""

from __future__ import annotations

import pytest

from medood.data.side_by_side import side_by_side


def read_before_the_first(count: int, ahead: int, weight: int, least: int) -> int:
    """How many of `count` items are asked for before the first result comes out."""
    asked: list[int] = []

    def items():
        for number in range(count):
            asked.append(number)
            yield number

    stream = side_by_side(lambda number: number**2, items(), 2, ahead, weight=lambda number: weight, least=least)
    assert next(stream) == 0
    reached = len(asked)
    assert list(stream) == [number**2 for number in range(1, count)]
    return reached


@pytest.mark.parametrize(
    ("weight", "least", "expected"),
    [
        (1, 1, 4),  # as many as are held ahead
        (1, 16, 16),  # single images: until they fill a batch
        (100, 16, 4),  # volumes fill it at once
        (1, 1000, 40),  # fewer than that: all
    ],
)
def test_light_items_are_read_farther_ahead(weight: int, least: int, expected: int) -> None:
    assert read_before_the_first(40, 4, weight, least) == expected
