"""The display window that the DICOM file asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.transforms import MapTransform

from medood.core.volume import Voi


class VoiWindow(MapTransform):
    """Applies each slice's VOI LUT or first window (DICOM PS3.3 C.11.2) and maps the result to 0..1.

    For radiographs "for presentation". Slices without one are scaled by their own lowest and highest value.
    """

    def __init__(self) -> None:
        super().__init__("image")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = np.asarray(data["image"], np.float32)
        windows = data.get("voi") or [None] * image.shape[1]
        shown = [windowed(image[:, k], voi) for k, voi in enumerate(windows)]
        return {**data, "image": np.stack(shown, axis=1).astype(np.float32)}


def windowed(image: np.ndarray, voi: Voi | None) -> np.ndarray:
    """`image` through a VOI transform, to 0..1."""
    if voi is not None and voi.lut is not None:
        table = voi.lut.astype(np.float32)
        index = np.clip(np.rint(image).astype(np.int64) - voi.first, 0, len(table) - 1)
        return (table[index] - table.min()) / max(float(np.ptp(table)), 1.0)
    if voi is None or voi.width <= 0:
        low, high = float(image.min()), float(image.max())
        return (image - low) / max(high - low, float(np.finfo(np.float32).eps))
    if voi.function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(-4.0 * (image - voi.centre) / voi.width))
    # C.11.2.1.2.1: LINEAR counts pixels, so centre and width lose a half and a whole one
    centre, width = (voi.centre - 0.5, max(voi.width - 1.0, 1e-6)) if voi.function == "LINEAR" else (voi.centre, voi.width)
    return np.clip((image - centre) / width + 0.5, 0.0, 1.0)
