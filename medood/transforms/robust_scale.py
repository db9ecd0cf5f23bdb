"""Intensities relative to the volume's own middle and spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from monai.transforms import MapTransform

from medood.core.quantiles import quantiles


class RobustScale(MapTransform):
    """Subtracts the middle and divides by the spread of the whole volume, inside the body when `foreground` is known.

    Both ways move little when a lesion is bright or large, unlike mean and standard deviation. Of normally distributed values they find the
    same spread: 1.349 standard deviations.

    method  "quartiles": the median, and the distance between the quartiles;
            "shorth": the middle and the width of the shortest interval that holds half of the values (Rousseeuw and Leroy, 1988). It lies
            where the values are densest, among normal tissue, and moves less than the quartiles do when what is abnormal is all on one side
    """

    def __init__(self, *, method: Literal["quartiles", "shorth"] = "quartiles") -> None:
        super().__init__("image")
        self.method = method

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = np.asarray(data["image"])
        inside = image[:, np.asarray(data["foreground"])[0]] if "foreground" in data else image.reshape(len(image), -1)
        if inside.size == 0:
            return {**data, "image": np.zeros_like(image)}
        middle, spread = _quartiles(inside) if self.method == "quartiles" else _shorth(inside)
        spread = max(spread, float(np.finfo(np.float32).eps) * max(abs(middle), 1.0))
        return {**data, "image": ((image - middle) / spread).astype(np.float32)}


def _quartiles(values: np.ndarray) -> tuple[float, float]:
    first, median, third = quantiles(values, (0.25, 0.5, 0.75))
    return median, third - first


def _shorth(values: np.ndarray) -> tuple[float, float]:
    """Middle and width of the shortest half; of several as short, their mean middle."""
    ascending = np.sort(values, axis=None)
    half = len(ascending) // 2
    widths = ascending[half:] - ascending[: len(ascending) - half]
    width = widths.min()
    starts = np.flatnonzero(widths == width)
    return float(ascending[starts].mean(dtype=np.float64) + width / 2), float(width)
