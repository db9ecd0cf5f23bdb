"""Random views of images: crops that are enlarged, flips, and other brightness, contrast and colour."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from medood.core.device import exact_arithmetic

_JITTER, _HUE, _JITTERED, _GREYED = 0.4, 0.1, 0.8, 0.2
_RATIO = 4 / 3
_LUMA = (0.299, 0.587, 0.114)
_TO_YIQ = torch.tensor([_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])


@dataclass(frozen=True)
class Views:
    """How n images are to be changed; (n,) each.

    width, height   of the crop, as shares of the image's; 1 and 1 is the whole image
    column, row     of its centre, -1..1
    flip            -1 or 1
    brightness, contrast, saturation  factors; contrast and saturation are around the mean grey of an image and the grey of a pixel
    hue             an angle in turns of a circle
    grey            bool, whether colours are taken away
    """

    width: Tensor
    height: Tensor
    column: Tensor
    row: Tensor
    flip: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    grey: Tensor

    def to(self, device: torch.device) -> Views:
        return Views(*(each.to(device) for each in vars(self).values()))

    def repeated(self, count: int) -> Views:
        """These views for each of `count` images: those of the first image first."""
        return Views(*(each.repeat(count) for each in vars(self).values()))


def draw_views(count: int, random: torch.Generator | None = None, area: tuple[float, float] = (0.08, 1.0), *, flips: bool = False) -> Views:
    """Views as SimCLR and CSI draw them: a crop with a share of the image's area within `area`, jitter in 80 % and grey in 20 % of them."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=random)

    size, ratio = uniform(*area), uniform(-math.log(_RATIO), math.log(_RATIO)).exp()
    width, height = ((size * each).sqrt().clamp(max=1) for each in (ratio, 1 / ratio))
    column, row = (uniform(-1, 1) * (1 - side) for side in (width, height))
    flip = 1 - 2 * (uniform(0, 1) < 0.5).float() * flips
    jittered = uniform(0, 1) < _JITTERED
    brightness, contrast, saturation = (torch.where(jittered, uniform(1 - _JITTER, 1 + _JITTER), 1.0) for _ in range(3))
    hue = torch.where(jittered, uniform(-_HUE, _HUE), 0.0)
    return Views(width, height, column, row, flip, brightness, contrast, saturation, hue, uniform(0, 1) < _GREYED)


def view(image: Tensor, views: Views) -> Tensor:
    """(n, C, H, W) of 0..1 under their views, within 0..1. Colours are changed only where there are three channels."""
    views = views.to(image.device)
    with exact_arithmetic(image.device):
        image = _part(image.float(), views) * _each(views.brightness)
        middle = image.mean((1, 2, 3), keepdim=True)
        image = middle + (image - middle) * _each(views.contrast)
        return (_recoloured(image, views) if image.shape[1] == 3 else image).clamp(0, 1)


def _part(image: Tensor, views: Views) -> Tensor:
    """The part of each image that its view shows, on as many pixels."""
    nothing = torch.zeros_like(views.width)
    rows = (views.width * views.flip, nothing, views.column), (nothing, views.height, views.row)
    places = affine_grid(torch.stack([torch.stack(row, 1) for row in rows], 1), list(image.shape), align_corners=False)
    return grid_sample(image, places, padding_mode="reflection", align_corners=False)


def _recoloured(image: Tensor, views: Views) -> Tensor:
    """Saturation and hue, as a stretching and a turn of the two colour axes of YIQ, which leave the luma alone."""
    to_yiq = _TO_YIQ.to(image)
    angle, stretch = 2 * math.pi * views.hue, torch.where(views.grey, 0.0, views.saturation)
    one, nothing = torch.ones_like(angle), torch.zeros_like(angle)
    cos, sin = stretch * angle.cos(), stretch * angle.sin()
    rows = (one, nothing, nothing), (nothing, cos, -sin), (nothing, sin, cos)
    turn = torch.stack([torch.stack(row, 1) for row in rows], 1)
    return torch.einsum("nij,njhw->nihw", torch.linalg.inv(to_yiq) @ turn @ to_yiq, image)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]
