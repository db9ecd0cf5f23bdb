"""What is known of an input besides its pixels' place: how it was acquired, and its grey values as a detector sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from medood.core.volume import Volume
from medood.transforms.pipeline import Prepared


def input_facts(volume: Volume, prepared: Prepared, background: float | None) -> dict[str, Any]:
    """How a volume was acquired, and the percentiles (5, 25, 50, 75, 95) of its prepared values inside the body."""
    images = prepared.images
    inside = images if background is None else images[images != background]
    return {
        "modality": volume.entry.origin.modality,
        "channels": len(volume.image),
        "plane": volume.geometry.plane,
        "pixel_mm": [round(mm, 4) for mm in prepared.raster.pixel_mm] if prepared.raster.known else None,
        "body_share": float(inside.size / max(images.size, 1)),
        "percentiles": [float(v) for v in np.percentile(inside, (5, 25, 50, 75, 95))] if inside.size else [0.0] * 5,
    }
