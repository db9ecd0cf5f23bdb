"""What the headers say of an input, and what its channels do: by these tags a gate tells another kind of image."""

from __future__ import annotations

from typing import Any

import numpy as np

from medood.core.volume import Volume
from medood.transforms.pipeline import Prepared

_NO_COLOUR = 0.01  # of the largest value: what JPEG leaves between the channels of a grey picture


def _is_grey(image: np.ndarray) -> bool:
    """Whether the channels (first axis) say the same, as in a radiograph that was stored as RGB or with a palette of greys."""
    return len(image) == 1 or float(np.ptp(image, axis=0).max()) <= _NO_COLOUR * float(np.abs(image).max())


def input_facts(volume: Volume, prepared: Prepared) -> dict[str, Any]:
    """The tags of a volume, empty or None where nobody knows; `pixel_mm` (height, width) is that of the prepared images."""
    origin = volume.entry.origin
    return {
        "modality": origin.modality,
        "weighting": origin.weighting,
        "body_part": origin.body_part,
        "view": origin.view,
        "manufacturer": (origin.manufacturer.split() or [""])[0].upper(),
        "kvp": origin.kvp or None,
        "channels": 1 if _is_grey(volume.image) else len(volume.image),
        "plane": volume.geometry.plane,
        "pixel_mm": [round(mm, 4) for mm in prepared.raster.pixel_mm] if prepared.raster.known else None,
    }
