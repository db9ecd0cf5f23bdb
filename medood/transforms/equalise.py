"""Grey values by their rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from monai.transforms import MapTransform
from skimage.exposure import equalize_adapthist, equalize_hist

from medood.core.errors import MedoodError
from medood.core.types import Fraction


class Equalise(MapTransform):
    """Spreads the grey values of every slice evenly over 0..1 (inside the body when `foreground` is known).

    `method` is "local" (CLAHE: in each of 8 x 8 tiles by itself, with a limit on how much contrast may grow: Zuiderveld, Graphics Gems IV,
    1994) or "global" (the whole slice's histogram). `clip_limit`, 0..1, of the local one: higher gives more contrast. What is left of an
    image is how its places compare, not how bright or how contrasty it was.
    """

    def __init__(self, *, method: Literal["local", "global"] = "local", clip_limit: Fraction = 0.01) -> None:
        super().__init__("image")
        if not 0 <= clip_limit <= 1:
            raise MedoodError(f"Equalise: `clip_limit` is a number from 0 to 1; found {clip_limit:g}.")
        self.method, self.clip_limit = method, clip_limit

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = np.asarray(data["image"], np.float64)
        body = np.asarray(data["foreground"], bool)[0] if "foreground" in data else np.ones(image.shape[1:], bool)
        made = np.zeros(image.shape, np.float32)
        for channel, slices in enumerate(image):
            for number, (grey, inside) in enumerate(zip(slices, body, strict=True)):
                made[channel, number] = self._equalised(grey, inside)
        return {**data, "image": made}

    def _equalised(self, grey: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """One slice to 0..1; a slice of one value, or without a body, to 0."""
        if not inside.any() or grey[inside].min() == grey[inside].max():
            return np.zeros(grey.shape)
        low, high = grey[inside].min(), grey[inside].max()
        unit = np.clip((grey - low) / (high - low), 0, 1)
        if self.method == "global":
            return equalize_hist(unit, mask=inside)
        return equalize_adapthist(unit, clip_limit=self.clip_limit)
