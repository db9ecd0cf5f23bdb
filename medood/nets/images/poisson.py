"""One image in another without a seam (Perez et al., Poisson image editing, SIGGRAPH 2003)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medood.core.device import exact_arithmetic


def blended(image: Tensor, other: Tensor, usable: Tensor, box: tuple[slice, slice], weight: float) -> Tensor:
    """The box of an image (C, H, W) with the gradients of another where these, times `weight`, are steeper than its own.

    Its outermost pixels stay as they are. Between pixels that are not both `usable`, bool (H, W), the gradient stays the image's own.
    """
    here, there, clear = image[(..., *box)], other[(..., *box)], usable[box]
    excess = torch.zeros_like(here)
    for axis in (1, 2):
        own, foreign = here.diff(dim=axis), weight * there.diff(dim=axis)
        both = clear.narrow(axis - 1, 1, clear.shape[axis - 1] - 1) & clear.narrow(axis - 1, 0, clear.shape[axis - 1] - 1)
        extra = torch.where(both & (foreign.abs() > own.abs()), foreign - own, 0.0)
        excess += torch.cat([extra, torch.zeros_like(extra.narrow(axis, 0, 1))], axis)
        excess -= torch.cat([torch.zeros_like(extra.narrow(axis, 0, 1)), extra], axis)
    changed = here.clone()
    changed[:, 1:-1, 1:-1] += solved(excess[:, 1:-1, 1:-1])
    return changed


def solved(laplacian: Tensor) -> Tensor:
    """(C, h, w) with that discrete Laplacian (of four neighbours) and 0 all around: exactly, by sine transforms."""
    height, width = laplacian.shape[1:]
    laplacian = laplacian.float()
    down, across = _sines(height, laplacian), _sines(width, laplacian)
    steps = [2 - 2 * torch.cos(math.pi * torch.arange(1, n + 1, device=laplacian.device) / (n + 1)) for n in (height, width)]
    with exact_arithmetic(laplacian.device):
        return -(down @ ((down @ laplacian @ across) / (steps[0][:, None] + steps[1])) @ across)


def _sines(count: int, like: Tensor) -> Tensor:
    """The orthogonal and symmetric matrix (count, count) of the discrete sine transform of type I."""
    numbers = torch.arange(1, count + 1, device=like.device, dtype=like.dtype)
    return (2 / (count + 1)) ** 0.5 * torch.sin(math.pi / (count + 1) * numbers[:, None] * numbers)
