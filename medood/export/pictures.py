"""Maps as pictures, for those without a viewer of volumes: PNG files without any text of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.files import atomic_file
from medood.core.geometry import Geometry, orientation_towards
from medood.core.map_scale import MapScale
from medood.export.colours import Window, blend, displayed, grey_window, heat, is_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))


def write_png16(path: Path, array: np.ndarray, scale: MapScale) -> None:
    """Write the map (1, rows, columns) of a single image as 16 bit grey: stored = 65535 * (value - low) / (high - low), rounded.

    Values outside low..high of the scale are clipped. The file does not hold the scale; `maps.json` beside it does, and `read_png16`
    undoes the mapping to within (high - low) / 131070.
    """
    _save(path, np.rint(scale.unit(_only_slice(array)) * 65535).astype(np.uint16))


def read_png16(path: Path, scale: MapScale) -> np.ndarray:
    """The float32 map (1, rows, columns) that `write_png16` wrote with the same scale."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            stored = np.asarray(picture)
    except OSError as error:
        raise InputError(f"{path} cannot be read as a picture ({type(error).__name__}).") from error
    if stored.dtype.itemsize < 2:
        raise InputError(f"{path} is not a picture of 16 bit: it is not a raw map.")
    return (scale.low + stored.astype(np.float32)[np.newaxis] * ((scale.high - scale.low) / 65535)).astype(np.float32)


def write_overlay_png(path: Path, image: np.ndarray, array: np.ndarray, scale: MapScale, window: Window | None = None) -> None:
    """Write the coloured map (1, rows, columns) over its single image (channels, 1, rows, columns): upright, pixel for pixel."""
    picture = displayed(image, window)
    _save(path, _only_slice(blend(picture, heat(array, scale))))


def write_montage_png(
    path: Path,
    image: np.ndarray,
    array: np.ndarray,
    geometry: Geometry,
    scale: MapScale,
    window: Window | None = None,
    count: int = 9,
) -> None:
    """Write the hottest slices of a map (slices, rows, columns) over its image (channels, slices, rows, columns), with a colour bar.

    Slices lie as on a radiological display, letters name their sides, titles give the index in the volume (from 0), and `count` is the
    most slices shown. The window is the same for all of them.
    """
    from matplotlib.figure import Figure

    turn = orientation_towards(geometry, "native")
    turned = turn.turn(geometry)
    if not is_colour(image):
        image, window = image[:1], window or grey_window(image[0])
    image, array = turn.apply(image), turn.apply(array)
    numbers = hottest_slices(array, count)
    columns = int(np.ceil(np.sqrt(len(numbers))))
    rows = int(np.ceil(len(numbers) / columns))
    figure = Figure(figsize=(2.6 * columns + 1.0, 2.75 * rows), layout="constrained", facecolor="black")
    frames = figure.subplots(rows, columns, squeeze=False).ravel()
    for frame in frames:
        frame.set_axis_off()
    for frame, number in zip(frames, numbers, strict=False):
        picture = blend(displayed(image[:, number], window), heat(array[number], scale))
        frame.imshow(picture, aspect=turned.spacing[1] / turned.spacing[0])
        frame.set_title(f"slice {number}", color="white", fontsize=9)
        _name_sides(frame, turned)
    draw_colour_bar(figure, frames, scale, ink="white")
    with atomic_file(path) as part:
        figure.savefig(part, dpi=100, metadata={"Software": None})


def hottest_slices(array: np.ndarray, count: int) -> list[int]:
    """At most `count` slice numbers in ascending order, by their highest value, kept apart so that one lesion does not fill them all.

    Slices without a value above the map's lowest are left out; of a map that is flat the middle slice is taken.
    """
    apart = len(array) // (4 * count)
    highest = array.max(axis=(1, 2))
    chosen: list[int] = []
    for number in np.argsort(-highest, kind="stable"):
        if len(chosen) < count and highest[number] > array.min() and all(abs(number - other) > apart for other in chosen):
            chosen.append(int(number))
    return sorted(chosen) or [len(array) // 2]


def side_letters(turned: Geometry) -> tuple[str, str]:
    """The sides of the patient (L, R, A, P, S, I) at the left and at the top of a slice of an array turned for display."""
    right, down, _ = nib.aff2axcodes(turned.affine)
    return _OPPOSITE[right], _OPPOSITE[down]


def _name_sides(frame: Axes, turned: Geometry) -> None:
    """Letters for the sides of the patient; none on a photograph."""
    if not turned.in_patient:
        return
    from matplotlib.patheffects import withStroke

    left, top = side_letters(turned)
    rim = withStroke(linewidth=2, foreground="black")
    style = {"transform": frame.transAxes, "color": "white", "fontsize": 8, "path_effects": [rim]}
    frame.text(0.02, 0.5, left, va="center", **style)
    frame.text(0.5, 0.98, top, ha="center", va="top", **style)


def draw_colour_bar(figure: Figure, frames: Sequence[Axes], scale: MapScale, ink: str) -> None:
    """What each colour means, mixed with a middle grey as it is mixed with the image; white line: the threshold. Text is in `ink`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shown = heat(np.linspace(scale.low, scale.high, 256), scale)
    grey = np.full((256, 3), 128, np.uint8)
    mappable = ScalarMappable(Normalize(scale.low, scale.high), ListedColormap(blend(grey, shown) / 255))
    bar = figure.colorbar(mappable, ax=list(frames), shrink=0.7, aspect=30)
    bar.set_label("map value", color=ink, fontsize=9)
    bar.ax.tick_params(colors=ink, labelsize=8)
    bar.outline.set_edgecolor(ink)
    if scale.low < scale.threshold < scale.high:
        bar.ax.axhline(scale.threshold, color="white", linewidth=1)


def _only_slice(array: np.ndarray) -> np.ndarray:
    if len(array) != 1:
        raise MedoodError(f"A picture holds one slice, found {len(array)}: write a volume as .nrrd, or as a montage.")
    return array[0]


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    with atomic_file(path) as part:
        Image.fromarray(pixels).save(part, format="PNG")
