"""Volumes and maps as a browser shows them: 8 bits a voxel, upright, compressed."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from medood.core.geometry import Geometry, Orientation
from medood.core.map_scale import MapScale
from medood.export.colours import Window, blend, displayed, grey_window, heat, is_colour, own_window
from medood.export.pictures import hottest_slices, side_letters, upright
from medood.scoring.mapped_images import Shown

LEVELS = 255
_ROOM = 1.5  # how far the stored range of a map reaches beyond the scale, in its width
_LARGEST = 24_000_000  # voxels of a volume; larger ones are thinned, in plane
_THUMBNAIL = 240  # pixels of the longer side, at least


@dataclass(frozen=True, eq=False)
class Case:
    """What the page holds of one entry. `facts` go into its data, `arrays` (uint8) beside it, each compressed."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]
    picture: bytes

    def packed(self) -> dict[str, str]:
        """The arrays as base64 of zlib, by name."""
        return {
            name: base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode() for name, array in self.arrays.items()
        }


def case_of(shown: Shown, axis: int, scale: MapScale, mask: np.ndarray | None, *, with_image: bool) -> Case:
    """A volume along the axis it was cut along; without its image the map alone. `mask` is that of the lesion, if it is known."""
    turn, geometry = upright(shown.volume.geometry, axis), shown.volume.geometry
    turned = turn.turn(geometry)
    array, seen = turn.apply(shown.array), turn.apply(shown.seen)
    image = turn.apply(shown.volume.image) if with_image else None
    low = min(scale.low, scale.threshold, 0.0)
    high = scale.high + _ROOM * (scale.high - scale.low)
    step = _thinning(array.shape)
    thin = (slice(None), slice(None, None, step), slice(None, None, step))
    arrays = {"map": _levels(array[thin], low, high)}
    if not seen.all():
        arrays["hidden"] = (~seen[thin]).astype(np.uint8)
    if mask is not None and mask.any():
        arrays["mask"] = turn.apply(mask)[thin].astype(np.uint8)
    facts = _facts(array[thin].shape, turned, geometry, turn, step) | {"map": [low, high], "hottest": _hottest(array)}
    facts |= {"scale": [scale.low, scale.high, scale.threshold], "plane": turned.plane if geometry.in_patient else None}
    if image is not None:
        facts |= _with_image(arrays, image[(slice(None), *thin)], own_window(shown.volume))
    return Case(facts, arrays, _picture(image, array, scale, own_window(shown.volume), facts["hottest"], turned))


def _facts(shape: tuple[int, ...], turned: Geometry, geometry: Geometry, turn: Orientation, step: int) -> dict[str, Any]:
    across, down, _ = turned.spacing
    return {
        "shape": list(shape),
        "pixel": [across * step, down * step],
        "thinned": step,
        "sides": list(side_letters(turned)) if geometry.in_patient else None,
        "numbers": [turn.native_slice(k, geometry.shape) for k in range(shape[0])],
    }


def _with_image(arrays: dict[str, np.ndarray], image: np.ndarray, window: Window | None) -> dict[str, Any]:
    """Add the image to the arrays: RGB as it is, of anything else the first channel over a range that windows can be chosen within."""
    if is_colour(image):
        arrays["image"] = np.moveaxis(image, 0, -1).astype(np.uint8)
        return {"colour": True}
    shown = window or grey_window(image[0])
    values = image[0].reshape(-1)[:: max(1, image[0].size // 1_000_000)]
    ends = np.percentile(values, (0.1, 99.9))
    low, high = min(float(ends[0]), shown[0]), max(float(ends[1]), shown[1])
    arrays["image"] = _levels(image[0], low, high)
    return {"colour": False, "range": [low, high], "window": [float(shown[0]), float(shown[1])]}


def _levels(array: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(np.clip((array - low) / (high - low), 0, 1) * LEVELS).astype(np.uint8)


def _thinning(shape: tuple[int, ...]) -> int:
    step = 1
    while np.prod(shape) / step**2 > _LARGEST:
        step += 1
    return step


def _hottest(array: np.ndarray) -> int:
    return int(max(hottest_slices(array, 1), key=lambda number: array[number].max()))


def _picture(image: np.ndarray | None, array: np.ndarray, scale: MapScale, window: Window | None, number: int, turned: Geometry) -> bytes:
    """PNG of the hottest slice with the map over it, or over black."""
    from PIL import Image

    high, wide = array.shape[1:]
    if image is None:
        below = np.zeros((high, wide, 3), np.uint8)
    else:
        whole = is_colour(image)
        below = displayed(image[:, number], None if whole else window or grey_window(image[0]))
    picture = Image.fromarray(blend(below, heat(array[number], scale)))
    across, down, _ = turned.spacing
    times = _THUMBNAIL / max(wide * across, high * down)
    picture = picture.resize((max(1, round(wide * across * times)), max(1, round(high * down * times))), Image.Resampling.BILINEAR)
    file = BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
