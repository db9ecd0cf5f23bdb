"""A uniform sample of pixels from more images than fit into memory."""

from __future__ import annotations

import numpy as np


class PixelSample:
    """At most `capacity` values drawn uniformly from all values that were added; all of them while they fit.

    Every value gets a random number and stays while that number is below the current rate; when the sample is full the rate is halved.
    The same values in the same order and the same seed give the same sample.
    """

    def __init__(self, capacity: int = 1_000_000, seed: int = 0) -> None:
        self._capacity, self._rate = capacity, 1.0
        self._random = np.random.default_rng(seed)
        self._values: list[np.ndarray] = []
        self._numbers: list[np.ndarray] = []
        self._held = 0

    def add(self, values: np.ndarray) -> None:
        """Offer values of any shape."""
        values = np.ravel(values)
        numbers = self._random.random(values.size, dtype=np.float32)
        keep = numbers < self._rate
        self._values.append(values[keep])
        self._numbers.append(numbers[keep])
        self._held += int(keep.sum())
        while self._held > self._capacity:
            self._thin()

    @property
    def values(self) -> np.ndarray:
        """(m,) the sample, m <= capacity."""
        return np.concatenate(self._values) if self._values else np.empty(0, np.float32)

    def _thin(self) -> None:
        self._rate /= 2
        values, numbers = np.concatenate(self._values), np.concatenate(self._numbers)
        keep = numbers < self._rate
        self._values, self._numbers, self._held = [values[keep]], [numbers[keep]], int(keep.sum())
