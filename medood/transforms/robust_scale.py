"""Intensities relative to the volume's own middle and spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.transforms import MapTransform


class RobustScale(MapTransform):
    """Subtracts the median and divides by the interquartile range of the whole volume, inside the body when `foreground` is known.

    Median and quartiles move little when a lesion is bright or large, unlike mean and standard deviation.
    """

    def __init__(self) -> None:
        super().__init__("image")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = np.asarray(data["image"])
        inside = image[:, np.asarray(data["foreground"])[0]] if "foreground" in data else image.reshape(len(image), -1)
        if inside.size == 0:
            return {**data, "image": np.zeros_like(image)}
        first, median, third = np.percentile(inside, (25, 50, 75))
        spread = max(third - first, np.finfo(np.float32).eps * max(abs(median), 1.0))
        return {**data, "image": ((image - median) / spread).astype(np.float32)}
