"""The colour scale of a run's maps."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from medood.core.errors import MedoodError


@dataclass(frozen=True)
class MapScale:
    """Map values shown as the first and the last colour; values below `threshold` are transparent.

    A run fixes it once from held-out normal images, never from the image shown: the same colour means the same value in every picture.
    It is for display; the maps themselves are never clamped. Raises MedoodError when a number is not finite or `low` is not below `high`.
    """

    low: float
    high: float
    threshold: float

    def __post_init__(self) -> None:
        if not all(isfinite(value) for value in (self.low, self.high, self.threshold)) or self.low >= self.high:
            raise MedoodError(
                f"A map scale needs finite numbers with low < high, found low {self.low}, high {self.high}, threshold {self.threshold}."
            )

    def unit(self, array: np.ndarray) -> np.ndarray:
        """Map values as float32 in 0..1: `low` and below is 0, `high` and above is 1."""
        return np.clip((np.asarray(array, np.float32) - self.low) / (self.high - self.low), 0, 1).astype(np.float32)
