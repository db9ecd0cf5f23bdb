"""How deep a network must be that ends in a small grid of features."""

from __future__ import annotations

from medood.core.demands import require_multiple
from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError


def halvings(spec: ImageSpec, who: str) -> int:
    """How often images are halved until their shorter side is 4 to 7 pixels: 6 times for 256 pixels.

    Raises MedoodError when the sides cannot be halved so often, or when there is nothing to halve.
    """
    side = min(spec.height, spec.width)
    if side < 8:
        found = f"{spec.height} x {spec.width}"
        raise MedoodError(f"{who} takes images of at least 8 x 8 pixels, found {found}: set `size` in the transforms file.")
    times = (side // 4).bit_length() - 1
    require_multiple(spec, 2**times, f"{who}, whose shorter side has {side} pixels,")
    return times
