"""Colour to grey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.transforms import MapTransform


class ToGrey(MapTransform):
    """Makes one channel of three by their luminance (ITU-R BT.601); grey images stay as they are."""

    def __init__(self) -> None:
        super().__init__("image")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = np.asarray(data["image"], np.float32)
        if len(image) == 3 and (image == image[:1]).all():
            image = image[:1]  # to the last bit what the grey picture holds
        elif len(image) == 3:
            image = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), image, axes=1)[None]
        return {**data, "image": image}
