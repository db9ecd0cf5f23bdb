"""One size for every image, and the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from medood.core.errors import InputError
from medood.core.geometry import Geometry
from medood.core.types import Fit

_LARGEST = 16384


@dataclass(frozen=True)
class Placement:
    """How images of `native` (rows, columns) became images of `size`: cut or padded around the centre to `region`, then resized."""

    native: tuple[int, int]
    region: tuple[int, int]
    size: tuple[int, int]

    def apply(self, stack: np.ndarray, fill: float) -> np.ndarray:
        """(..., rows, columns) to (..., *size): averaging when it shrinks, linear when it grows, untouched when it does neither."""
        return _resize(_place(stack, self.region, fill), self.size)

    def undo(self, stack: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """(..., *size) back to (..., *native), pixel centres where they were; what was cut away is `fill`."""
        return _place(_resize(stack, self.region), self.native, fill)

    def region_geometry(self, geometry: Geometry) -> Geometry:
        """The grid of the region, from the geometry of the native grid (both turned): the same pixels, some more or some fewer around."""
        rows, columns = (
            (native - region) // 2 if native >= region else -((region - native) // 2)
            for native, region in zip(self.native, self.region, strict=True)
        )
        shift = np.eye(4)
        shift[:2, 3] = columns, rows
        return replace(geometry, affine=geometry.affine @ shift, shape=(geometry.shape[0], *self.region))


def placement(geometry: Geometry, size: tuple[int, int], fit: Fit, field_of_view: tuple[float, float] | None) -> Placement:
    """The placement for images of a volume; the rows and columns of `geometry` are those of the turned volume."""
    rows, columns = geometry.shape[1:]
    if field_of_view is not None and geometry.spacing_known:
        dx, dy, _ = geometry.spacing
        region = (max(1, round(field_of_view[0] / dy)), max(1, round(field_of_view[1] / dx)))
    elif fit == "stretch":
        region = (rows, columns)
    elif fit == "keep":
        region = size
    else:
        choose = max if fit == "pad" else min
        scale = choose(rows / size[0], columns / size[1])
        region = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    if max(region) > _LARGEST:
        raise InputError(f"The field of view asks for images of {region[0]} x {region[1]} pixels before they are resized: make it smaller.")
    return Placement((rows, columns), region, size)


def _place(stack: np.ndarray, shape: tuple[int, int], fill: float) -> np.ndarray:
    """Centre (..., rows, columns) in a frame of `shape`; the smaller starts at half the difference, rounded down, both ways."""
    if stack.shape[-2:] == shape:
        return stack
    out = np.full((*stack.shape[:-2], *shape), fill, stack.dtype)
    there: list[Any] = [...]
    here: list[Any] = [...]
    for target, found in zip(shape, stack.shape[-2:], strict=True):
        length = min(target, found)
        there.append(slice((target - length) // 2, (target - length) // 2 + length))
        here.append(slice((found - length) // 2, (found - length) // 2 + length))
    out[tuple(there)] = stack[tuple(here)]
    return out


def resize_weights(shape: tuple[int, int], size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """(size[0], shape[0]) and (shape[1], size[1]): an image of `shape` between them, as matrices, is the image resized to `size`."""
    averaged = _averaged(shape, size)
    down, across = (
        _interpolated(torch.eye(length)[None, None], (made, length), averaged)[0, 0] for length, made in zip(shape, size, strict=True)
    )
    return down, across.T


def _resize(stack: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shape: tuple[int, int] = stack.shape[-2], stack.shape[-1]
    if shape == size:
        return stack
    flat = torch.from_numpy(np.ascontiguousarray(stack, np.float32).reshape(-1, 1, *shape))
    return _interpolated(flat, size, _averaged(shape, size)).numpy().reshape(*stack.shape[:-2], *size)


def _averaged(shape: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether nothing grows."""
    return size[0] <= shape[0] and size[1] <= shape[1]


def _interpolated(images: torch.Tensor, size: tuple[int, int], averaged: bool) -> torch.Tensor:
    if averaged:
        return interpolate(images, size, mode="area")
    return interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
