"""The seeds of what the tests train: `pytest --medood-seed N` shifts them all.

Trained weights differ from processor to processor. What a test asserts after a training must hold for any training of the kind, and other
seeds stand for other processors.
"""

from __future__ import annotations

_shift = 0


def shift_seeds(number: int) -> None:
    global _shift
    _shift = 1000 * number


def shifted(seed: int) -> int:
    """The seed to train with where a test names `seed`."""
    return seed + _shift
