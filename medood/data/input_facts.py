"""What is known of an input besides its pixels' place: how it was acquired, and its grey values as a detector sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from medood.core.volume import Volume
from medood.transforms.pipeline import Prepared

_NO_COLOUR = 0.01  # of the largest value: what JPEG leaves between the channels of a grey picture


_NO_FACTS: dict[str, Any] = {"modality": "", "plane": None, "pixel_mm": None, "body_share": 1.0, "percentiles": [0.0] * 5}


def _is_grey(image: np.ndarray) -> bool:
    """Whether the channels (first axis) say the same, as in a radiograph that was stored as RGB or with a palette of greys."""
    return len(image) == 1 or float(np.ptp(image, axis=0).max()) <= _NO_COLOUR * float(np.abs(image).max())


def input_facts(volume: Volume, prepared: Prepared, background: float | None) -> dict[str, Any]:
    """How a volume was acquired, and the percentiles (5, 25, 50, 75, 95) of its prepared values inside the body."""
    images = prepared.images
    if volume.image.shape[1:] == (1, 1, 1):  # numbers of a table, which are no grey values
        return {**_NO_FACTS, "channels": len(volume.image)}
    inside = images if background is None else images[images != background]
    return {
        "modality": volume.entry.origin.modality,
        "channels": 1 if _is_grey(volume.image) else len(volume.image),
        "plane": volume.geometry.plane,
        "pixel_mm": [round(mm, 4) for mm in prepared.raster.pixel_mm] if prepared.raster.known else None,
        "body_share": float(inside.size / max(images.size, 1)),
        "percentiles": [float(v) for v in np.percentile(inside, (5, 25, 50, 75, 95))] if inside.size else [0.0] * 5,
    }
