"""The volume's own range of values to 0..1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.transforms import MapTransform

from medood.core.errors import MedoodError
from medood.core.quantiles import quantiles
from medood.core.types import Percent


class PercentileScale(MapTransform):
    """Maps the `lower`..`upper` percentile of the volume (inside the body when `foreground` is known) to 0..1 and cuts what lies outside.

    Beware: it also stretches a lesion that is brighter than everything else into the range. For lesions that show by brightness use
    `robust_scale` and `scale_range`.
    """

    def __init__(self, *, lower: Percent = 0.5, upper: Percent = 99.5) -> None:
        super().__init__("image")
        if not 0 <= lower < upper <= 100:
            raise MedoodError(
                "PercentileScale: `lower` and `upper` are percentiles from 0 to 100, the lower one first; "
                f"found lower {lower:g}, upper {upper:g}."
            )
        self.lower, self.upper = lower, upper

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = np.asarray(data["image"], np.float32)
        inside = image[:, np.asarray(data["foreground"])[0]] if "foreground" in data else image
        low, high = quantiles(inside, (self.lower / 100, self.upper / 100)) if inside.size else (0.0, 1.0)
        scaled = image - low
        scaled /= max(high - low, float(np.finfo(np.float32).eps))
        return {**data, "image": np.clip(scaled, 0.0, 1.0, out=scaled)}
