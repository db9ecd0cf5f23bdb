"""How values become colours: one fixed scale for the maps of a run, a robust window for the image beneath."""

from __future__ import annotations

from functools import cache

import numpy as np

from medood.core.map_scale import MapScale
from medood.core.volume import Volume

OPACITY = 0.6
"""How much of a map's colour covers the image beneath it."""

Window = tuple[float, float]
"""Image values shown as black and as white."""

_FADED = 32  # palette entries over which the lower end fades in
_SAMPLED = 4_000_000  # values that are enough for the percentiles of an image


@cache
def colour_table() -> np.ndarray:
    """The palette of every map, uint8 (256, 4) RGBA, not writable: purple to yellow, perceptually uniform, fading in over the lower end.

    A range of matplotlib's inferno (van der Walt and Smith, CC0) without its blacks, which vanish on a dark image, and its whites, which
    vanish on a bright one.
    """
    from matplotlib import colormaps

    table = np.rint(colormaps["inferno"](np.linspace(0.25, 0.95, 256)) * 255).astype(np.uint8)
    table[:_FADED, 3] = np.arange(_FADED) * 255 // _FADED
    table.setflags(write=False)
    return table


def heat(array: np.ndarray, scale: MapScale) -> np.ndarray:
    """Colours of a map: uint8 RGBA with one more axis than `array`; alpha is 0 below the threshold."""
    colours = colour_table()[np.rint(scale.unit(array) * 255).astype(np.intp)]
    colours[array < scale.threshold, 3] = 0
    return colours


def blend(picture: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """uint8 (..., 3): the RGBA `colours` of `heat` over the uint8 RGB `picture`, at OPACITY."""
    alpha = colours[..., 3:].astype(np.float32) * (OPACITY / 255)
    return np.rint(picture * (1 - alpha) + colours[..., :3] * alpha).astype(np.uint8)


def cross_out(picture: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The uint8 RGB `picture` (rows, columns, 3) with the pixels of `hidden` (rows, columns) grey, dim and hatched: nobody looked there."""
    rows, columns = np.ogrid[: hidden.shape[0], : hidden.shape[1]]
    period = max(6, min(hidden.shape) // 24)
    stripes = ((rows + columns) % period < max(1, period // 4)).astype(np.float32)
    dim = np.float32(0.45) * picture.mean(-1) + 20 + 70 * stripes
    return np.where(hidden[..., np.newaxis], np.rint(dim)[..., np.newaxis], picture).astype(np.uint8)


def own_window(volume: Volume) -> Window | None:
    """The window that the scanner's user chose, for CT: percentiles of its values are ruled by air and metal. None leaves it to them."""
    if volume.entry.origin.modality != "CT" or not volume.voi or volume.voi[0].width <= 1:
        return None
    centre, reach = volume.voi[0].centre - 0.5, (volume.voi[0].width - 1) / 2  # PS3.3 C.11.2.1.2.1
    return centre - reach, centre + reach


def is_colour(image: np.ndarray) -> bool:
    """Whether (channels, ...) is an RGB picture: three channels of whole numbers from 0 to 255. Three MR contrasts are not."""
    return len(image) == 3 and image.min() >= 0 and image.max() <= 255 and bool((image == np.rint(image)).all())


def grey_window(image: np.ndarray) -> Window:
    """A robust window for the values of one channel: from percentile 0.5 of all to percentile 99.5 of those above the minimum.

    The minimum fills everything around the body; a constant image gets a window of width 1.
    """
    values = image.reshape(-1)
    values = values[:: max(1, values.size // _SAMPLED)]
    inside = values[values > values.min()]
    if not inside.size:
        return float(values[0]) - 0.5, float(values[0]) + 0.5
    low, high = float(np.percentile(values, 0.5)), float(np.percentile(inside, 99.5))
    return (low, high) if low < high else (float(values.min()), high)


def displayed(image: np.ndarray, window: Window | None = None) -> np.ndarray:
    """uint8 (..., 3) of an image (channels, ...): RGB as it is; of anything else the first channel in grey, in its `window`."""
    if is_colour(image):
        return np.moveaxis(image, 0, -1).astype(np.uint8)
    low, high = window or grey_window(image[0])
    grey = np.rint(np.clip((image[0] - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)
