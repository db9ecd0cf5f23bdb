"""The seeds of what the tests train: `pytest --medood-seed N` shifts them all, in processes that the tests start too.

Trained weights differ from processor to processor. What a test asserts after a training must hold for any training of the kind, and other
seeds stand for other processors.
"""

from __future__ import annotations

import os

_SHIFT = "MEDOOD_TEST_SEED"


def shift_seeds(number: int) -> None:
    os.environ[_SHIFT] = str(number)


def shifted(seed: int) -> int:
    """The seed to train with where a test names `seed`."""
    return seed + 1000 * int(os.environ.get(_SHIFT, "0"))
