"""From the grids of features to what detectors compare: vectors of places, vectors of images, and maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from medood.core.errors import MedoodError
from medood.core.tracing import is_written_down
from medood.core.types import Statistic


def smoothed(grid: Tensor) -> Tensor:
    """The mean over each place and its eight neighbours."""
    return avg_pool2d(grid, 3, stride=1, padding=1, count_include_pad=False)


def joined(grids: Sequence[Tensor]) -> Tensor:
    """(B, c1 + c2 + ..., h, w): the layers one upon the other, on the finest grid among them."""
    finest = finest_grid([grid.shape[1:] for grid in grids])
    return torch.cat([grid if grid.shape[2:] == finest else interpolate(grid, finest, mode="bilinear") for grid in grids], 1)


def finest_grid(shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
    """(h, w) of the finest of some layers with shapes (c, h, w)."""
    _, height, width = max(shapes, key=lambda shape: shape[1] * shape[2])
    return height, width


def pooled(grids: Sequence[Tensor], body: Tensor, parts: int = 1, statistics: Sequence[Statistic] = ("mean", "maximum")) -> list[Tensor]:
    """(B, parts * parts * c * statistics) of every layer: every channel over each of parts x parts rectangles of the image, as far as they
    lie in the body (B, 1, H, W), or over the whole rectangle where there is no body. No rectangle is smaller than a place of the grid."""
    layers = []
    for grid in grids:
        found, inside = [], cells(body, grid.shape[2:])
        for rows in _cut(grid.shape[2], parts):
            for columns in _cut(grid.shape[3], parts):
                shown = inside[..., rows, columns]
                shown = shown | ~shown.any((2, 3), keepdim=True)
                found += [_REDUCED[statistic](grid[..., rows, columns], shown) for statistic in statistics]
        layers.append(torch.cat(found, 1))
    return layers


def statistics_of(names: Sequence[Statistic], who: str) -> tuple[Statistic, ...]:
    """Raises MedoodError unless there is at least one and none comes twice."""
    if not names or len(set(names)) < len(names):
        raise MedoodError(f"{who}: `statistics` must name at least one of {', '.join(_REDUCED)} and none twice, found {list(names)}.")
    return tuple(names)


def _cut(length: int, parts: int) -> list[slice]:
    """The length in so many parts that are as equal as can be, of at least 1; where it cannot be divided they overlap."""
    return [slice(part * length // parts, -(-(part + 1) * length // parts)) for part in range(parts)]


def _mean(values: Tensor, shown: Tensor) -> Tensor:
    return (values * shown).sum((2, 3)) / shown.sum((2, 3))


def _maximum(values: Tensor, shown: Tensor) -> Tensor:
    return values.masked_fill(~shown, -torch.inf).amax((2, 3))


_REDUCED = {"mean": _mean, "maximum": _maximum}


def cells(body: Tensor, grid: Sequence[int]) -> Tensor:
    """bool (B, 1, h, w): the cells of a grid of which at least half lies in the body (B, 1, H, W); of a body too thin for that, all cells
    that it touches, so that it is looked at too."""
    share = adaptive_avg_pool2d(body.float(), (grid[0], grid[1]))
    inside = share >= 0.5
    return inside | ((share > 0) & ~inside.any(3, keepdim=True).any(2, keepdim=True))


def map_of(values: Tensor, body: Tensor) -> Tensor:
    """(B, 1, H, W): values (B, 1, h, w) of a grid at every pixel of the body; 0, as normal as can be, outside."""
    return interpolate(values, body.shape[2:], mode="bilinear") * body


def map_scores(heat: Tensor, body: Tensor, percentile: float) -> dict[str, Tensor]:
    """(B,) each: the mean, the maximum and a percentile (0..100) of maps (B, 1, H, W) over the body; 0 for an image without one."""
    inside = body.flatten(1)
    number = inside.sum(1)
    rank = (number * (1 - percentile / 100)).long().minimum(number - 1).clamp(min=0)
    values = heat.flatten(1).masked_fill(~inside, -torch.inf)
    values = values.topk(values.shape[1] if is_written_down() else int(rank.amax()) + 1 if len(values) else 1).values
    some = number > 0
    return {
        "mean": (heat.flatten(1) * inside).sum(1) / number.clamp(min=1),
        "maximum": torch.where(some, values[:, 0], 0.0),
        "percentile": torch.where(some, values.gather(1, rank[:, None])[:, 0], 0.0),
    }
