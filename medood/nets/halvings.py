"""How deep a network must be that ends in a small grid of features."""

from __future__ import annotations

from medood.core.demands import require_multiple
from medood.core.detector import ImageSpec

_SMALLEST = 8


def halvings(spec: ImageSpec, who: str) -> int:
    """How often images are halved until their shorter side is 4 to 7 pixels: 6 times for 256 pixels.

    Raises MedoodError when the sides cannot be halved so often, or when there is nothing to halve.
    """
    side = min(spec.height, spec.width)
    times = (max(side, _SMALLEST) // 4).bit_length() - 1
    step = 2**times
    larger = 2 * step if side > 7 * step else step  # the next multiple is then 8 steps, which are halved once more
    require_multiple(spec, step, f"{who}, for a shorter side of {side} pixels,", least=_SMALLEST, larger=larger)
    return times
