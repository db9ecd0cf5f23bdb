"""A fixed bank of statistics of images as a detector sees them: what tells other kinds of images apart and hardly feels a lesion.

Everything is a quantile, a coarse average or a clipped histogram over the whole image, so that a lesion, which is some of its pixels,
moves little of it. Nothing is learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medood.core.detector import ImageSpec

_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_LEAST = 2.0**-12
"""Of the range: differences below a sixteenth of a step of 8 bits count as none."""

_ENOUGH = 8192  # values for a quantile
_OCTAVES = 5
_CELLS = 12  # of the layout, along each side
_PLACES, _DIRECTIONS = 4, 8  # cells of the histograms along each side, and bins of a whole turn
_EDGES = 64  # pixels along each side at which edges are looked at


def statistics(images: np.ndarray, spec: ImageSpec) -> dict[str, np.ndarray]:
    """Of (n, channels, height, width) images in the range of the spec, float64 (n, d) by what they are about.

    values   quantiles of grey values in the body, the body's share, and of colour pictures the quantiles of two opponent colours
    texture  how much there is of each octave along rows, along columns and diagonally, typically and at its strongest
    layout   what lies where: the image at a few cells, and which way edges run in quarters of quarters
    """
    unit = (np.asarray(images, np.float32) - spec.low) / np.float32(spec.high - spec.low)
    grey = unit.mean(1)
    body = np.ones(grey.shape, bool) if spec.background is None else (images != spec.background).any(1)
    body |= ~body.any((1, 2), keepdims=True)
    made = [_of_one(grey[i], unit[i], body[i]) for i in range(len(images))]
    return {name: np.stack([one[name] for one in made]) for name in made[0]}


def _of_one(grey: np.ndarray, unit: np.ndarray, body: np.ndarray) -> Mapping[str, np.ndarray]:
    inside = _some(body.ravel().nonzero()[0])
    values = [np.quantile(grey.ravel()[inside], _QUANTILES), [body.mean()]]
    if len(unit) == 3:
        red, green, blue = unit.reshape(3, -1)[:, inside]
        values += [np.quantile(colour, _QUANTILES[1:-1]) for colour in (red - green, (red + green) / 2 - blue)]
    return {"values": np.concatenate(values), "texture": _texture(grey, body), "layout": np.concatenate([_layout(grey), _edges(grey)])}


def _texture(grey: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Logarithms of the median and the 90th percentile of the absolute Haar coefficients in the body, by octave and direction."""
    found = []
    for _ in range(_OCTAVES):
        height, width = (length // 2 * 2 for length in grey.shape)
        corners = [grey[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
        inside = np.logical_and.reduce([body[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)])
        if min(inside.shape) < 2:
            found += [np.log(_LEAST)] * 6
            continue
        where = inside if inside.any() else np.ones_like(inside)
        a, b, c, d = corners
        details = np.stack([_some(detail[where]) for detail in (a + b - c - d, a - b + c - d, a - b - c + d)])
        found += np.log(np.quantile(np.abs(details), (0.5, 0.9), axis=1) / 4 + _LEAST).T.ravel().tolist()
        grey, body = (a + b + c + d) / 4, inside
    return np.array(found)


def _some(values: np.ndarray) -> np.ndarray:
    """As many as a quantile needs, evenly chosen."""
    return values[:: max(1, len(values) // _ENOUGH)]


def _layout(grey: np.ndarray) -> np.ndarray:
    """The image at a few cells, without its brightness and contrast."""
    cells = shrunk(grey, _CELLS).ravel().astype(np.float64)
    return (cells - cells.mean()) / (cells.std() + 0.02)


def _edges(grey: np.ndarray) -> np.ndarray:
    """Square roots of the shares that each direction of edges, dark to bright, has in each place; no edge counts more than most do."""
    small = shrunk(grey, _EDGES)
    down, across = np.gradient(small)
    strength = np.hypot(down, across)
    strength = np.minimum(strength, np.quantile(strength, 0.9))
    bins = np.floor((np.arctan2(down, across) / (2 * np.pi) % 1.0) * _DIRECTIONS).astype(int) % _DIRECTIONS
    row, column = (np.arange(_EDGES) * _PLACES // _EDGES,) * 2
    place = row[:, None] * _PLACES + column
    counts = np.bincount((place * _DIRECTIONS + bins).ravel(), strength.ravel(), _PLACES**2 * _DIRECTIONS)
    return np.sqrt(counts / (counts.sum() + _LEAST))


def shrunk(grey: np.ndarray, cells: int) -> np.ndarray:
    """(cells, cells) averages of an image (height, width) over equal parts of it; parts of fewer than one pixel repeat pixels."""
    for axis in (0, 1):
        ends = np.linspace(0, grey.shape[axis], cells + 1)
        starts = np.floor(ends[:-1]).astype(int)
        counts = np.maximum(np.ceil(ends[1:] - 1e-9).astype(int) - starts, 1)
        sums = np.concatenate([np.zeros_like(np.take(grey, [0], axis)), np.cumsum(grey, axis, dtype=np.float64)], axis)
        length = counts.reshape((-1, 1) if axis == 0 else (1, -1))
        grey = (np.take(sums, starts + counts, axis) - np.take(sums, starts, axis)) / length
    return grey
