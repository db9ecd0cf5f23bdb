"""A fixed bank of statistics of images as a detector sees them: what tells other kinds of images apart and hardly feels a lesion.

Everything is a quantile, a coarse average or a clipped histogram over the whole image, so that a lesion, which is some of its pixels,
moves little of it. Nothing is learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from medood.core.detector import ImageSpec
from medood.core.quantiles import of_sorted

BANK = 2
"""Changes when the statistics do: a gate that was fitted on others knows nothing of these."""

_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_LEAST = 2.0**-12
"""Of the range: differences below a sixteenth of a step of 8 bits count as none."""

_ENOUGH = 8192  # values for a quantile
_OCTAVES = 5
_CELLS, _CELLS_INSIDE = 12, 8  # of the layout, along each side
_PLACES, _DIRECTIONS = 4, 8  # cells of the histograms along each side, and bins of a whole turn
_EDGES = 64  # pixels along each side at which edges are looked at


def statistics(images: np.ndarray, spec: ImageSpec) -> dict[str, np.ndarray]:
    """Of (n, channels, height, width) images in the range of the spec, float64 (n, d) by what they are about.

    values   quantiles of grey values in the body, the body's share, and of colour pictures the quantiles of two opponent colours
    texture  how much there is of each octave along rows, along columns and diagonally, typically and at its strongest
    layout   what lies where: the image at a few cells, and which way edges run in quarters of quarters; where there is a background, the
             same of the smallest upright rectangle that holds the body too, for a head may lie anywhere and have any size
    """
    unit = (np.asarray(images, np.float32) - spec.low) / np.float32(spec.high - spec.low)
    grey = unit.mean(1)
    body = np.ones(grey.shape, bool) if spec.background is None else (images != spec.background).any(1)
    body |= ~body.any((1, 2), keepdims=True)
    made = [_of_one(grey[i], unit[i], body[i], spec.background is not None) for i in range(len(images))]
    return {name: np.stack([one[name] for one in made]) for name in made[0]}


def _of_one(grey: np.ndarray, unit: np.ndarray, body: np.ndarray, cut_out: bool) -> Mapping[str, np.ndarray]:
    inside = _some(body.ravel().nonzero()[0])
    values = [of_sorted(np.sort(grey.ravel()[inside]), _QUANTILES), np.array([np.count_nonzero(body) / body.size])]
    if len(unit) == 3:
        red, green, blue = unit.reshape(3, -1)[:, inside]
        values += [of_sorted(np.sort(colour), _QUANTILES[1:-1]) for colour in (red - green, (red + green) / 2 - blue)]
    layout = [_layout(grey, _CELLS), _edges(grey)]
    if cut_out:
        inside = grey[_around(body)]
        layout += [_layout(inside, _CELLS_INSIDE), _edges(inside)]
    return {"values": np.concatenate(values), "texture": _texture(grey, body), "layout": np.concatenate(layout)}


def _around(body: np.ndarray) -> tuple[slice, slice]:
    """The smallest upright rectangle that holds the body (height, width)."""
    rows, columns = (np.flatnonzero(body.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _texture(grey: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Logarithms of the median and the 90th percentile of the absolute Haar coefficients in the body, by octave and direction."""
    found = np.zeros((_OCTAVES, 3, 2))
    for octave in range(_OCTAVES):
        height, width = (length // 2 * 2 for length in grey.shape)
        top, bottom = body[:height:2, :width], body[1:height:2, :width]
        inside = (top & bottom)[:, ::2] & (top & bottom)[:, 1::2]
        if min(inside.shape) < 2:
            break
        upper, lower = grey[:height:2, :width], grey[1:height:2, :width]
        rows, columns = upper + lower, upper - lower
        details = np.stack([columns[:, ::2] + columns[:, 1::2], rows[:, ::2] - rows[:, 1::2], columns[:, ::2] - columns[:, 1::2]])
        where = _some((inside if inside.any() else ~inside).ravel().nonzero()[0])
        strengths = np.abs(details.reshape(3, -1).take(where, 1))
        strengths.sort(axis=1)
        found[octave] = of_sorted(strengths, (0.5, 0.9))
        grey, body = (rows[:, ::2] + rows[:, 1::2]) / 4, inside
    return np.log(found / 4 + _LEAST).ravel()


def _some(values: np.ndarray) -> np.ndarray:
    """As many as a quantile needs, evenly chosen."""
    return values[:: max(1, len(values) // _ENOUGH)]


def _layout(grey: np.ndarray, side: int) -> np.ndarray:
    """The image at a few cells, without its brightness and contrast."""
    cells = shrunk(grey, side).ravel().astype(np.float64)
    return (cells - cells.mean()) / (cells.std() + 0.02)


def _edges(grey: np.ndarray) -> np.ndarray:
    """Square roots of the shares that each direction of edges, dark to bright, has in each place; no edge counts more than most do."""
    small = shrunk(grey, _EDGES)
    down, across = np.gradient(small)
    strength = np.hypot(down, across)
    strength = np.minimum(strength, of_sorted(np.sort(strength, axis=None), (0.9,)))
    bins = np.floor((np.arctan2(down, across) / (2 * np.pi) % 1.0) * _DIRECTIONS).astype(int) % _DIRECTIONS
    row, column = (np.arange(_EDGES) * _PLACES // _EDGES,) * 2
    place = row[:, None] * _PLACES + column
    counts = np.bincount((place * _DIRECTIONS + bins).ravel(), strength.ravel(), _PLACES**2 * _DIRECTIONS)
    return np.sqrt(counts / (counts.sum() + _LEAST))


def shrunk(grey: np.ndarray, cells: int) -> np.ndarray:
    """(cells, cells) averages of an image (height, width) over equal parts of it; parts of fewer than one pixel repeat pixels."""
    return adaptive_avg_pool2d(torch.from_numpy(np.ascontiguousarray(grey))[None], cells)[0].numpy()
