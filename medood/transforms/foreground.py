"""Where the body is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from monai.transforms import MapTransform
from scipy import ndimage
from skimage.filters import threshold_otsu


class Foreground(MapTransform):
    """Finds the body and adds it as `foreground`, bool (1, slices, rows, columns).

    method  "background": everything that differs from the most frequent value on the faces of the volume, as after skull-stripping;
            "otsu": everything brighter than Otsu's threshold, its holes filled slice by slice;
            "auto": "background" if one value fills at least a fifth of the volume, else "otsu"
    """

    def __init__(self, *, method: Literal["auto", "background", "otsu"] = "auto") -> None:
        super().__init__("image")
        self.method = method

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = np.asarray(data["image"]).mean(0)
        body = self._body(image)
        if "padding" in data:
            body &= ~np.asarray(data["padding"])[0]
        return {**data, "foreground": body[None]}

    def _body(self, image: np.ndarray) -> np.ndarray:
        outside = _most_frequent_on_faces(image)
        differs = image != outside
        if self.method == "background" or (self.method == "auto" and differs.mean() <= 0.8):
            return differs
        bright = image > threshold_otsu(image[:: max(1, len(image) // 32)])
        return np.stack([ndimage.binary_fill_holes(slice_) for slice_ in bright])


def _most_frequent_on_faces(image: np.ndarray) -> float:
    """The commonest value on the four sides of every slice: outside the body there is usually one."""
    faces = np.concatenate([image[:, 0].ravel(), image[:, -1].ravel(), image[:, :, 0].ravel(), image[:, :, -1].ravel()])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()])
