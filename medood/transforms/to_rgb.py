"""Grey to colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.transforms import MapTransform


class ToRgb(MapTransform):
    """Repeats a grey channel three times; colour images stay as they are."""

    def __init__(self) -> None:
        super().__init__("image")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = np.asarray(data["image"], np.float32)
        return {**data, "image": np.repeat(image, 3, axis=0) if len(image) == 1 else image}
