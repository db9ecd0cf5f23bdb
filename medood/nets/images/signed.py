"""Images as networks see them that end in a hyperbolic tangent, and what such networks make, as an image."""

from __future__ import annotations

from torch import Tensor

from medood.core.detector import ImageSpec


def signed(image: Tensor, spec: ImageSpec) -> Tensor:
    """The range of the spec stretched to -1..1, which is all that such a network can reproduce."""
    return (image - spec.low) * (2 / (spec.high - spec.low)) - 1


def unsigned(image: Tensor, spec: ImageSpec) -> Tensor:
    """The inverse of `signed`: -1..1 to the range of the spec."""
    return (image + 1) * ((spec.high - spec.low) / 2) + spec.low
