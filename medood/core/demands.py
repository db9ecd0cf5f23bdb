"""What a detector may ask of the images it is built for; every refusal says what to change in the transforms file."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError


def required_classes(batch: Batch) -> Tensor:
    """int64 (B,): the classes of images, -1 for none. Raises TrainingError when nobody named any."""
    if batch.classes is None:
        raise TrainingError("No image has a class: give the source a table with a column `class`.")
    return batch.classes


def require_range(spec: ImageSpec, low: float, high: float, who: str) -> None:
    """Raises MedoodError unless the images lie in low..high: a network that ends in a sigmoid can reproduce nothing beyond 0..1."""
    if (spec.low, spec.high) != (low, high):
        raise MedoodError(
            f"{who} takes values from {low:g} to {high:g}, but the transforms promise {spec.low:g} to {spec.high:g}: "
            f"set `range: [{low:g}, {high:g}]` in the transforms file and scale to it."
        )


def require_multiple(spec: ImageSpec, step: int, who: str, *, least: int | None = None, larger: int | None = None) -> None:
    """Raises MedoodError unless height and width are multiples of `step` pixels and at least `least`, or else `step`, pixels.

    The sentence names the nearest smaller and larger size. Where larger images have larger steps, `larger` is the step of the latter.
    """
    least = least or step
    sides = spec.height, spec.width
    if min(sides) >= least and not any(side % step for side in sides):
        return
    below = [side // step * step for side in sides]
    above = [max(-(-side // (larger or step)) * (larger or step), least) for side in sides]
    sizes = [above] if min(below) < least else [below, above]
    at_least = f" and at least {least}" if least > step else ""
    _refuse(spec, f"{who} takes images whose height and width are multiples of {step}{at_least}", sizes)


def require_square(spec: ImageSpec, sides: Sequence[int], who: str) -> None:
    """Raises MedoodError unless the images are square with one of the `sides`, in rising order; the sentence names the nearest ones."""
    if spec.height == spec.width and spec.height in sides:
        return
    asked = max(spec.height, spec.width)
    nearest = [side for side in sides if side <= asked][-1:] + [side for side in sides if side > asked][:1]
    _refuse(
        spec,
        f"{who} takes square images with a side of {', '.join(map(str, sides[:-1]))} or {sides[-1]} pixels",
        [(side, side) for side in nearest],
    )


def require_square_multiple(spec: ImageSpec, step: int, who: str) -> None:
    """Raises MedoodError unless the images are square with a side that is a multiple of `step`; the sentence names the nearest ones."""
    sides = spec.height, spec.width
    if sides[0] == sides[1] and sides[0] % step == 0:
        return
    below, above = min(sides) // step * step, -(-max(sides) // step) * step
    rule = f"{who} takes square images whose side is a multiple of {step} pixels"
    _refuse(spec, rule, [(side, side) for side in (below, above) if side])


def _refuse(spec: ImageSpec, rule: str, sizes: Sequence[Sequence[int]]) -> None:
    near = " or ".join(f"{height} x {width}" for height, width in sizes)
    raise MedoodError(f"{rule}, such as {near}, found {spec.height} x {spec.width}: set `size` in the transforms file.")
