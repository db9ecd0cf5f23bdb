"""Maps as pictures, for those without a viewer of volumes: PNG files without any text of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from medood.core.errors import MedoodError
from medood.core.files.atomic import atomic_file
from medood.core.geometry import Geometry, Orientation, orientation_towards
from medood.core.map_scale import MapScale
from medood.core.volume import Volume
from medood.export.card import WARNING, enlargement, write_card
from medood.export.colours import Window, blend, colour_table, cross_out, displayed, grey_window, heat, is_colour, own_window
from medood.export.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))
_NOTHING = Verdict()


def write_picture(
    path: Path, volume: Volume, array: np.ndarray, scale: MapScale, verdict: Verdict, examined: np.ndarray, axis: int
) -> None:
    """Write the map of a volume over it, with what was found: a single picture as it is, of all else the hottest slices along `axis`."""
    image, hidden = volume.image, ~examined
    if volume.geometry.in_patient or len(array) > 1:
        write_montage_png(path, image, array, volume.geometry, scale, own_window(volume), verdict=verdict, hidden=hidden, axis=axis)
    else:
        write_overlay_png(path, image, array, scale, own_window(volume), verdict=verdict, hidden=hidden)


def write_overlay_png(
    path: Path,
    image: np.ndarray,
    array: np.ndarray,
    scale: MapScale,
    window: Window | None = None,
    *,
    verdict: Verdict = _NOTHING,
    hidden: np.ndarray | None = None,
) -> None:
    """Write the coloured map (1, rows, columns) over its single image (channels, 1, rows, columns), upright, with a colour bar and what the
    run says of it.

    A small picture is enlarged by a whole factor, so that every pixel stays one. `hidden`, bool as the map, is where nothing was examined.
    """
    if len(array) != 1:
        raise MedoodError(f"A picture holds one slice, found {len(array)}: write a volume as a montage.")
    pixels = blend(displayed(image, window), heat(array, scale))[0]
    times = enlargement(array.shape[1:])
    pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    if hidden is not None and hidden.any():
        pixels = cross_out(pixels, hidden[0].repeat(times, axis=0).repeat(times, axis=1))
    write_card(path, pixels, scale, verdict)


def write_montage_png(
    path: Path,
    image: np.ndarray,
    array: np.ndarray,
    geometry: Geometry,
    scale: MapScale,
    window: Window | None = None,
    count: int = 9,
    *,
    verdict: Verdict = _NOTHING,
    hidden: np.ndarray | None = None,
    axis: int = 0,
) -> None:
    """Write the hottest slices of a map (slices, rows, columns) over its image (channels, slices, rows, columns), with a colour bar, and
    what the run says of the whole and of each slice.

    Slices lie as on a radiological display, letters name their sides, titles give the index in the volume (from 0), and `count` is the
    most slices shown; one more stands for those that were not examined. The window is the same for all of them. `hidden`, bool as the
    map, is where nothing was examined, and `axis` that of the array along which slices were scored.
    """
    from matplotlib.figure import Figure

    turn = upright(geometry, axis)
    turned = turn.turn(geometry)
    if not is_colour(image):
        image, window = image[:1], window or grey_window(image[0])
    image, array = turn.apply(image), turn.apply(array)
    hidden = np.zeros(array.shape, bool) if hidden is None else turn.apply(hidden)
    positions = sorted({*hottest_slices(array, count), *_middle_of_longest([bool(each.all()) for each in hidden])})
    columns = int(np.ceil(np.sqrt(len(positions))))
    rows = int(np.ceil(len(positions) / columns))
    figure = Figure(figsize=(max(2.6 * columns, 5.2) + 1.0, 2.9 * rows + 0.6), layout="constrained", facecolor="black")
    frames = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for frame in frames:
        frame.set_axis_off()
    for frame, k in zip(frames, positions, strict=False):
        picture = cross_out(blend(displayed(image[:, k], window), heat(array[k], scale)), hidden[k])
        frame.imshow(picture, aspect=turned.spacing[1] / turned.spacing[0])
        number = turn.native_slice(k, geometry.shape)
        said = "\nnot examined" if hidden[k].all() else f"\n{verdict.of_slice(number)}".rstrip("\n")
        frame.set_title(f"slice {number}{said}", color="white", fontsize=9)
        _name_sides(frame, turned)
    draw_colour_bar(figure, frames, scale, ink="white")
    unseen = sorted(turn.native_slice(int(k), geometry.shape) for k in np.flatnonzero(hidden.all(axis=(1, 2))))
    _explain(figure, verdict, unseen, letters=int(figure.get_figwidth() * 13))
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


def displayed_directions(geometry: Geometry, axis: int) -> tuple[str, str]:
    """Where in the patient (L, R, A, P, S, I) the rows and the columns of the slices lead to as a montage shows them."""
    right, down, _ = nib.aff2axcodes(upright(geometry, axis).turn(geometry).affine)
    return right, down


def draw_colour_bar(figure: Figure, frames: Sequence[Axes], scale: MapScale, ink: str) -> None:
    """What each colour means: the palette as it is; white line: the threshold. Text is in `ink`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    mappable = ScalarMappable(Normalize(scale.low, scale.high), ListedColormap(colour_table()[:, :3] / 255))
    bar = figure.colorbar(mappable, ax=list(frames), shrink=0.7, aspect=30)
    bar.set_label("map value", color=ink, fontsize=9)
    bar.ax.tick_params(colors=ink, labelsize=8)
    bar.outline.set_edgecolor(ink)
    if scale.low < scale.threshold < scale.high:
        bar.ax.axhline(scale.threshold, color="white", linewidth=1)


def upright(geometry: Geometry, axis: int) -> Orientation:
    """The turn that shows slices along `axis` of the array as on a radiological display; those of axis 0 keep their order."""
    if axis == 0 or not geometry.in_patient:
        return orientation_towards(geometry, "native")
    normal = int(nib.orientations.io_orientation(geometry.affine)[2 - axis, 0])
    return orientation_towards(geometry, ("sagittal", "coronal", "axial")[normal])


def _middle_of_longest(flags: Sequence[bool]) -> list[int]:
    """The middle of the longest run of True, if there is any."""
    edges = np.flatnonzero(np.diff([False, *flags, False]))
    runs = [(int(end - start), int(start)) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return [max(runs)[1] + max(runs)[0] // 2] if runs else []


def _name_sides(frame: Axes, turned: Geometry) -> None:
    """Letters for the sides of the patient; none on a photograph."""
    if not turned.in_patient:
        return
    from matplotlib.patheffects import withStroke

    left, top = side_letters(turned)
    rim = withStroke(linewidth=2, foreground="black")
    style: dict[str, Any] = {"transform": frame.transAxes, "color": "white", "fontsize": 8, "path_effects": [rim]}
    frame.text(0.02, 0.5, left, va="center", **style)
    frame.text(0.5, 0.98, top, ha="center", va="top", **style)


def _explain(figure: Figure, verdict: Verdict, unseen: Sequence[int], letters: int) -> None:
    """The verdict above the slices, and across them for images that the run was not made for; below them warnings and the slices that
    nobody looked at, in lines of so many letters."""
    if verdict.banner:
        style: dict[str, Any] = {"ha": "center", "va": "center", "rotation": 30, "alpha": 0.75, "fontweight": "bold"}
        size = figure.get_figwidth() * 72 * 1.1 / len(verdict.banner)
        figure.text(0.5, 0.5, verdict.banner, color=tuple(part / 255 for part in WARNING), fontsize=size, zorder=10, **style)
    if verdict.headline:
        figure.suptitle(fill(verdict.headline, letters), color="white", fontsize=11)
    warnings = [*verdict.warnings, *([f"Slices that were not examined: {in_ranges(unseen)}."] if unseen else [])]
    if warnings:
        lines = "\n".join(fill(warning, letters) for warning in warnings)
        figure.supxlabel(lines, color=tuple(part / 255 for part in WARNING), fontsize=9)


def in_ranges(numbers: Sequence[int]) -> str:
    """Ascending whole numbers in words: 0-5, 9, 30-31."""
    starts = [n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n - 1]
    ends = [n for i, n in enumerate(numbers) if i == len(numbers) - 1 or numbers[i + 1] != n + 1]
    return ", ".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))
