"""A fixed range of values to 0..1."""

from __future__ import annotations

import math

from monai.transforms import ScaleIntensityRanged

from medood.core.errors import MedoodError
from medood.core.types import FiniteFloat


class ScaleRange(ScaleIntensityRanged):
    """Maps `low`..`high` linearly to `to_low`..`to_high`; `clip` cuts what lies outside. Each pair rises."""

    def __init__(
        self, *, low: FiniteFloat, high: FiniteFloat, to_low: FiniteFloat = 0.0, to_high: FiniteFloat = 1.0, clip: bool = True
    ) -> None:
        _check_rising(low=low, high=high)
        _check_rising(to_low=to_low, to_high=to_high)
        super().__init__("image", low, high, to_low, to_high, clip)


def _check_rising(**ends: float) -> None:
    (first, low), (second, high) = ends.items()
    if not (low < high and math.isfinite(high - low)):
        raise MedoodError(
            f"ScaleRange: `{first}` and `{second}` are two finite numbers, the lower one first; found {first} {low:g}, {second} {high:g}."
        )
