"""A fixed range of values to 0..1."""

from __future__ import annotations

from monai.transforms import ScaleIntensityRanged


class ScaleRange(ScaleIntensityRanged):
    """Maps `low`..`high` linearly to `to_low`..`to_high`; `clip` cuts what lies outside."""

    def __init__(self, *, low: float, high: float, to_low: float = 0.0, to_high: float = 1.0, clip: bool = True) -> None:
        super().__init__("image", low, high, to_low, to_high, clip)
