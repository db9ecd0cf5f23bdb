"""A recipe's pooling of the map of one image, as operations of tensors; medood/scoring/pooling.py says what it means."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from medood.core.geometry import Raster
from medood.recipe.recipe import Pooling
from medood.scoring.smoothing import CUT_OFF


class OnePool(nn.Module):
    """Map (1, 1, H, W) of an image with its body, bool of that shape, to the pooled map, and to what of it counts.

    Everything but `largest_component`, whose parts have as many shapes as there are images.
    """

    disc: Tensor

    def __init__(self, plan: Pooling, size: tuple[int, int], raster: Raster) -> None:
        super().__init__()
        self.plan, self.raster = plan, raster
        self.gaussians = nn.ModuleList(_Gaussian(size, mm, raster) for mm in plan.gaussians_mm)
        self.median = [1 + 2 * round(plan.median_mm / (2 * mm)) for mm in raster.pixel_mm]
        self.register_buffer("disc", _disc(plan.erode_mm, raster) if plan.erode_mm else torch.ones(1, 1))

    def maps(self, heat: Tensor, body: Tensor, residual: Tensor | None) -> Tensor:
        heat = torch.where(body, heat, 0.0)
        if residual is not None:
            heat = torch.where(residual > 0 if self.plan.side == "higher" else residual < 0, heat, 0.0)
        if self.plan.median_mm:
            heat = torch.where(body, _median(heat, self.median), 0.0)
        return self._smoothed(heat, body) if len(self.gaussians) else heat

    def counted(self, body: Tensor) -> Tensor:
        """The part of the body that is further than `erode_mm` from its rim; all of it where nothing would be left."""
        if not self.plan.erode_mm:
            return body
        margin = self.disc.shape[0] // 2, self.disc.shape[1] // 2
        near = conv2d((~body).float(), self.disc[None, None], padding=margin)
        deep = near < 0.5
        return torch.where(deep.any() & ~body.all(), deep, body)

    def score(self, maps: Tensor, where: Tensor) -> Tensor:
        """float64 (1,)"""
        values, inside = maps.double().flatten(1), where.flatten(1)
        number = inside.sum(1)
        if self.plan.reduction == "mean":
            found = (values * inside).sum(1) / number.clamp(min=1)
        elif self.plan.reduction == "percentile":
            found = _percentile(values, inside, self.plan.percentile)
        else:
            descending = values.masked_fill(~inside, -torch.inf).sort(1, descending=True).values
            wanted = max(1, min(round(self.plan.top_mm2 / self.raster.pixel_mm2), values.shape[1]))
            taken = number.clamp(1, wanted)
            hottest = descending[:, :wanted]
            found = torch.where(torch.arange(wanted) < taken[:, None], hottest, 0.0).sum(1) / taken
        return torch.where(number > 0, found, values.amin(1))

    def _smoothed(self, heat: Tensor, body: Tensor) -> Tensor:
        inside, total = body.to(heat), torch.zeros_like(heat)
        for gaussian in self.gaussians:
            total = total + gaussian(heat) / (len(self.gaussians) * gaussian(inside).clamp(min=1e-6))
        return torch.where(body, total, 0.0)


class _Gaussian(nn.Module):
    """A Gaussian along rows and columns, with 0 around the image."""

    down: Tensor
    across: Tensor

    def __init__(self, size: tuple[int, int], mm: float, raster: Raster) -> None:
        super().__init__()
        for name, length, pixel in zip(("down", "across"), size, raster.pixel_mm, strict=True):
            self.register_buffer(name, _band(length, mm / pixel))

    def forward(self, heat: Tensor) -> Tensor:
        rows = (self.down @ heat.double()).float()  # rounded between the axes, as scipy does
        return (rows.double() @ self.across).float()


def _band(length: int, sigma: float) -> Tensor:
    """float64 (length, length), symmetric: a product with it smooths along an axis."""
    radius = int(CUT_OFF * sigma + 0.5)
    apart = torch.arange(length)[:, None] - torch.arange(length)
    offsets = torch.arange(-radius, radius + 1).double()
    total = torch.exp(-0.5 * (offsets / sigma).square()).sum()
    return torch.where(apart.abs() <= radius, torch.exp(-0.5 * (apart.double() / sigma).square()) / total, 0.0)


def _median(heat: Tensor, sizes: list[int]) -> Tensor:
    """Over sizes[0] x sizes[1] pixels, mirrored at the rim of the image with the rim itself, as scipy does."""
    for axis, size in zip((2, 3), sizes, strict=True):
        heat = heat.index_select(axis, torch.from_numpy(np.pad(np.arange(heat.shape[axis]), size // 2, mode="symmetric")))
    around = heat.unfold(2, sizes[0], 1).unfold(3, sizes[1], 1).flatten(-2)
    return around.sort(-1).values[..., sizes[0] * sizes[1] // 2]


def _disc(mm: float, raster: Raster) -> Tensor:
    """float32 (2 a + 1, 2 b + 1): 1 at no more than `mm` from the middle."""
    rows, columns = (torch.arange(-math.floor(mm / pixel), math.floor(mm / pixel) + 1).double() * pixel for pixel in raster.pixel_mm)
    return (torch.hypot(*torch.meshgrid(rows, columns, indexing="ij")) <= mm).float()


def _percentile(values: Tensor, inside: Tensor, percentile: float) -> Tensor:
    """(1,) of the values (1, n) inside, as numpy interpolates it."""
    ascending = values.masked_fill(~inside, torch.inf).sort(1).values
    last = (inside.sum(1) - 1).clamp(min=0)
    place = percentile / 100 * last.double()
    below = place.floor().long()
    low, high = (ascending.gather(1, at[:, None])[:, 0] for at in (below, (below + 1).minimum(last)))
    return low + (high - low) * (place - below)
