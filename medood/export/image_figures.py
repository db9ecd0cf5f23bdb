"""Images with their scores by class, and what a detector reconstructs of them: figures 3 and 4 of CVAD (Guo et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from medood.core.map_scale import MapScale
from medood.export.colours import blend, displayed, heat
from medood.export.figures import ANOMALOUS, NORMAL, grid_of_axes
from medood.export.pictures import draw_colour_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE = 1.9  # inches across of one picture
_HEADING = 0.3  # inches above a picture for its title
_BESIDE = 0.5, 1.0  # inches for the titles of rows, and for the colour bar
_CAPTION = 0.4  # inches below a figure
_MIDDLE = "Of each class, the image with the middle score."


@dataclass(frozen=True, eq=False)
class ScoredPicture:
    """A picture uint8 (rows, columns, 3), its score, and whether the run calls it anomalous."""

    pixels: np.ndarray
    score: float
    anomalous: bool

    @property
    def verdict(self) -> str:
        return f"{self.score:.4g}, called {'anomalous' if self.anomalous else 'normal'}"


@dataclass(frozen=True, eq=False)
class Column:
    """Pictures of one class from the lowest to the highest score; `count` images were scored to choose them."""

    title: str
    count: int
    pictures: Sequence[ScoredPicture]


@dataclass(frozen=True, eq=False)
class ReconstructionRow:
    """An image of one class, its reconstructions by title, and its map (rows, columns) or None."""

    title: str
    image: ScoredPicture
    reconstructions: Mapping[str, np.ndarray]
    map: np.ndarray | None = None


def picture_of(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 (rows, columns, 3) of an image (channels, rows, columns) in low..high: black to white, or RGB. The window is always the same,
    so that an image and its reconstruction can be compared."""
    stored = np.rint(np.clip((image - low) / (high - low), 0, 1) * 255)
    return displayed(stored, (0.0, 255.0))


def case_figure(columns: Sequence[Column], threshold: float) -> Figure:
    """A column per class, the score and the run's decision above each image. All pictures have one size."""
    rows = max(len(column.pictures) for column in columns)
    figure, axes = grid_of_axes(rows, len(columns), _panel(columns[0].pictures[0].pixels, _HEADING))
    figure.set_figheight(figure.get_figheight() + _HEADING + _CAPTION)
    for column, frames in zip(columns, axes.T, strict=True):
        for ax in frames:
            ax.set_axis_off()
        for picture, ax in zip(column.pictures, frames, strict=False):
            ax.imshow(picture.pixels)
            ax.set_title(picture.verdict, fontsize=8, color=_ink(picture), pad=3)
        _head(frames[0], f"{column.title}\n{column.count} {'image' if column.count == 1 else 'images'}")
    rising = "In each column the score rises from the lowest of the class to the highest, in equal steps of rank."
    _explain(figure, f"{rising if rows > 1 else _MIDDLE} A score above {threshold:.4g} is called anomalous.")
    return figure


def reconstruction_figure(rows: Sequence[ReconstructionRow], scale: MapScale | None) -> Figure:
    """A row per class: the reconstructions, the image x, and, where there are maps, the map over the image in the run's colours."""
    titles = [*rows[0].reconstructions, "x (input)", *(["score map"] if scale else [])]
    figure, axes = grid_of_axes(len(rows), len(titles), _panel(rows[0].image.pixels, 0.0))
    wide, high = figure.get_size_inches()
    figure.set_size_inches(wide + sum(_BESIDE[: 2 if scale else 1]), high + _HEADING + _CAPTION)
    for row, frames in zip(rows, axes, strict=True):
        pixels = row.image.pixels
        coloured = [blend(pixels, heat(row.map, scale))] if scale and row.map is not None else []
        for ax, shown in zip(frames, [*row.reconstructions.values(), pixels, *coloured], strict=True):
            ax.imshow(shown)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        frames[0].set_ylabel(f"{row.title}\n{row.image.verdict}", fontsize=8, color=_ink(row.image))
    for title, ax in zip(titles, axes[0], strict=True):
        ax.set_title(title, fontsize=9, pad=4)
    if scale:
        draw_colour_bar(figure, list(axes.flat), scale, ink="black")
    _explain(figure, _MIDDLE)
    return figure


def _panel(pixels: np.ndarray, heading: float) -> tuple[float, float]:
    return _SIDE, _SIDE * pixels.shape[0] / pixels.shape[1] + heading


def _ink(picture: ScoredPicture) -> str:
    return ANOMALOUS if picture.anomalous else NORMAL


def _head(ax: Axes, text: str) -> None:
    """The class, above the score of its first image."""
    place: dict[str, Any] = {"xy": (0.5, 1), "xytext": (0, 17), "xycoords": "axes fraction", "textcoords": "offset points"}
    ax.annotate(text, ha="center", va="bottom", fontsize=9, fontweight="bold", **place)


def _explain(figure: Figure, text: str) -> None:
    """Below the figure, in lines that fit: a letter of 8 points is about 0.066 inches wide."""
    figure.supxlabel(fill(text, int(figure.get_figwidth() / 0.066)), fontsize=8)
