"""The intensity steps of a transforms file as operations of tensors, for one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from medood.recipe import catalogue

Step = Callable[[Tensor], Tensor]
"""float32 (1, C, H, W) to the same, perhaps with another C."""

_LEAST = float(torch.finfo(torch.float32).eps)
_LUMINANCE = 0.299, 0.587, 0.114

WHOLE_VOLUME = ("percentile_scale", "robust_scale", "voi_window")
"""Steps that look at all slices of a volume, or at what its header says of each."""


def as_tensors(steps: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Raises KeyError with the name of a step that has no such form."""
    cards = catalogue.steps()
    return [partial(_FORMS[name], **cards[name].parameters(**given).model_dump()) for step in steps for name, given in step.items()]


def without_form(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for step in steps for name in step if name not in _FORMS]


def _scale_range(image: Tensor, *, low: float, high: float, to_low: float, to_high: float, clip: bool) -> Tensor:
    unit = (image - low) / (high - low) if high != low else image - low
    scaled = unit * (to_high - to_low) + to_low
    return scaled.clamp(to_low, to_high) if clip else scaled


def _percentile_scale(image: Tensor, *, lower: float, upper: float) -> Tensor:
    ascending = image.double().flatten().sort().values
    low, high = (_percentile(ascending, share) for share in (lower, upper))
    return ((image - low) / (high - low).clamp(min=_LEAST)).clamp(0, 1).float()


def _percentile(ascending: Tensor, percentile: float) -> Tensor:
    """() of values in rising order, as numpy interpolates it."""
    place = percentile / 100 * (len(ascending) - 1)
    below = int(place)
    low, high = ascending[below], ascending[min(below + 1, len(ascending) - 1)]
    return low + (high - low) * (place - below)


def _robust_scale(image: Tensor, *, method: str) -> Tensor:
    ascending = image.double().flatten().sort().values
    middle, spread = _quartiles(ascending) if method == "quartiles" else _shorth(ascending)
    return ((image - middle) / torch.maximum(spread, _LEAST * middle.abs().clamp(min=1.0))).float()


def _quartiles(ascending: Tensor) -> tuple[Tensor, Tensor]:
    first, median, third = (_percentile(ascending, share) for share in (25, 50, 75))
    return median, third - first


def _shorth(ascending: Tensor) -> tuple[Tensor, Tensor]:
    half = len(ascending) // 2
    widths = ascending[half:] - ascending[: len(ascending) - half]
    width = widths.amin()
    shortest = (widths == width).double()
    return (ascending[: len(widths)] * shortest).sum() / shortest.sum() + width / 2, width


def _voi_window(image: Tensor) -> Tensor:
    """Of an image whose header names no window."""
    low, high = image.amin(), image.amax()
    return (image - low) / (high - low).clamp(min=_LEAST)


def _to_grey(image: Tensor) -> Tensor:
    if image.shape[1] != 3:
        return image
    weighted = (image * image.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return torch.where((image == image[:, :1]).all(), image[:, :1], weighted)


def _to_rgb(image: Tensor) -> Tensor:
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image


_FORMS: Mapping[str, Callable[..., Tensor]] = {
    "percentile_scale": _percentile_scale,
    "robust_scale": _robust_scale,
    "scale_range": _scale_range,
    "to_grey": _to_grey,
    "to_rgb": _to_rgb,
    "voi_window": _voi_window,
}
