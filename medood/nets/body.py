"""Numbers of an image from a map of it, over the body alone."""

from __future__ import annotations

import torch
from torch import Tensor

from medood.core.tracing import is_written_down


def mean_inside(heat: Tensor, inside: Tensor) -> Tensor:
    """(B,): mean of the maps (B, 1, H, W) where `inside`, bool of the same shape, is True; 0 where that is nowhere."""
    return (heat * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)


def percentile_inside(heat: Tensor, inside: Tensor, percentile: float) -> Tensor:
    """(B,): percentile, 0 to 100, of the maps (B, 1, H, W) where `inside` is True; 0 where that is nowhere.

    Between two values it is interpolated, as numpy does.
    """
    number = inside.sum((1, 2, 3))
    place = percentile / 100 * (number - 1).clamp(min=0).to(heat)
    below = place.floor().long()
    last = (number - 1).clamp(min=0)
    # only as many of the highest values are put in order as are asked for: sorting all of them took most of a score's time
    values = torch.where(inside, heat, -torch.inf).flatten(1)
    values = values.topk(values.shape[1] if is_written_down() else int((last - below).amax()) + 1 if len(values) else 1).values
    low, high = (values.gather(1, (last - at)[:, None])[:, 0] for at in (below, place.ceil().long()))
    found = low + (high - low) * (place - below)
    return torch.where(number > 0, found, 0.0)
