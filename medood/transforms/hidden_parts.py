"""Random parts of an image to be hidden from a network that learns to fill them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, Randomizable

from medood.core.errors import MedoodError


class HidesParts(Randomizable, MapTransform):
    """Adds `hidden`, bool (1, H, W), to a sample with `image` (C, H, W); the image stays as it is.

    With `tile`, every tile of that many pixels is drawn by itself, for networks that see tiles. Subclasses draw the masks.
    """

    def __init__(self, tile: int | None) -> None:
        MapTransform.__init__(self, "image")
        if tile is not None and tile < 1:
            raise MedoodError(f"{type(self).__name__}: `tile` is a number of pixels, at least 1; found {tile}.")
        self.tile = tile

    def draw(self, count: int, height: int, width: int) -> np.ndarray:
        """bool (count, height, width), drawn from `self.R`."""
        raise NotImplementedError

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        height, width = data["image"].shape[-2:]
        h, w = (self.tile, self.tile) if self.tile else (height, width)
        if height % h or width % w:
            raise MedoodError(f"{type(self).__name__}: `tile: {h}` does not divide images of {height} x {width}: choose one that does.")
        down, across = height // h, width // w
        masks = self.draw(down * across, h, w).reshape(down, across, h, w)
        hidden = np.ascontiguousarray(masks.transpose(0, 2, 1, 3)).reshape(1, height, width)
        return {**data, "hidden": torch.from_numpy(hidden)}
