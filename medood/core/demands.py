"""What a detector may ask of the images it is built for; every refusal says what to change in the transforms file."""

from __future__ import annotations

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError


def require_range(spec: ImageSpec, low: float, high: float, who: str) -> None:
    """Raises MedoodError unless the images lie in low..high: a network that ends in a sigmoid can reproduce nothing beyond 0..1."""
    if (spec.low, spec.high) != (low, high):
        raise MedoodError(
            f"{who} takes values from {low:g} to {high:g}, but the transforms promise {spec.low:g} to {spec.high:g}: "
            f"set `range: [{low:g}, {high:g}]` in the transforms file and scale to it."
        )


def require_multiple(spec: ImageSpec, step: int, who: str) -> None:
    """Raises MedoodError unless height and width are multiples of `step` pixels."""
    if spec.height % step or spec.width % step:
        sizes = ", ".join(str(step * k) for k in (1, 2, 4, 8))
        raise MedoodError(
            f"{who} takes images whose height and width are multiples of {step} ({sizes} ...), "
            f"found {spec.height} x {spec.width}: set `size` in the transforms file."
        )
