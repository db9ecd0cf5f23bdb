"""ROC, precision-recall and FROC curves and score histograms as PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from medood.core.files.atomic import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue, vermilion and grey of Okabe and Ito: told apart with every colour vision, and by line style or hatching in print.
NORMAL, ANOMALOUS, OTHER = "#0072B2", "#D55E00", "#767676"
_PANEL = (4.6, 4.2)  # inches
_SQUARE = 5.2  # inches of a square plot as wide as a panel, with its title and labels
_LEGEND_LINE = 0.2  # inches of a line of a legend below
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "medood",
    "svg.fonttype": "path",
}


Panel = TypeVar("Panel")


@dataclass(frozen=True, eq=False)
class RocPanel:
    """One ROC plot. `curves` and `points` map a legend text to (false-positive rate, true-positive rate); the first curve is the score.

    band  of the score: false-positive rates, and the lower and upper end of the true-positive rate at each
    """

    title: str
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class PrecisionPanel:
    """One precision-recall plot. `curves` map a legend text to (recall, precision), from recall 0; a precision holds for the recalls up to
    its own, as average precision has it. `chance` is the share of anomalous rows.

    band  of the first curve: recalls, and the lower and upper end of the precision at each
    """

    title: str
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    chance: float
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class FrocPanel:
    """One FROC plot. `curves` map a legend text to (false findings per scan, sensitivity); `band` is that of the first curve."""

    title: str
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class ScorePanel:
    """Histograms of scores (n,) with labels (n,) 0 or 1; `threshold` is drawn when there is one."""

    title: str
    scores: np.ndarray
    labels: np.ndarray
    threshold: float | None = None


def roc_figure(panels: Sequence[RocPanel]) -> Figure:
    """ROC curves side by side."""
    return _side_by_side(panels, _draw_roc, _height(max(len(panel.curves) + len(panel.points) for panel in panels)))


def precision_figure(panels: Sequence[PrecisionPanel]) -> Figure:
    """Precision-recall curves side by side."""
    return _side_by_side(panels, _draw_precision, _height(max(len(panel.curves) for panel in panels)))


def froc_figure(panels: Sequence[FrocPanel]) -> Figure:
    """FROC curves side by side."""
    return _side_by_side(panels, _draw_froc, _height(max(len(panel.curves) for panel in panels)))


def score_figure(panels: Sequence[ScorePanel]) -> Figure:
    """Histograms of the scores of normal and of anomalous rows, each as a share of its own class."""
    return _side_by_side(panels, _draw_scores, _PANEL[1])


def _height(lines: int) -> float:
    """Inches down, with a legend of so many lines and one more below."""
    return _SQUARE + _LEGEND_LINE * (lines + 1)


def _side_by_side(panels: Sequence[Panel], draw: Callable[[Axes, Panel], None], height: float) -> Figure:
    figure, axes = grid_of_axes(1, len(panels), (_PANEL[0], height))
    for panel, ax in zip(panels, axes[0], strict=True):
        draw(ax, panel)
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.png (150 dots per inch) and NAME.svg (no date in it); the same figure gives the same bytes."""
    import matplotlib

    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with matplotlib.rc_context(_STYLE):
        for path in paths:
            with atomic_file(path) as part:
                figure.savefig(part, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def grid_of_axes(rows: int, columns: int, panel: tuple[float, float] = _PANEL) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns axes of `panel` inches (across, down) each, and the axes as an array; it needs no display and leaves no
    state in pyplot."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False)


def _draw_roc(ax: Axes, panel: RocPanel) -> None:
    ax.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.8)
    _draw_band(ax, panel.band)
    for text, (fpr, tpr), look in _looks(panel.curves):
        ax.plot(fpr, tpr, label=text, **look)
    for (text, (x, y)), marker in zip(panel.points.items(), "osD^", strict=False):
        ax.plot([x], [y], marker, label=text, color=NORMAL, markersize=6, markerfacecolor="white", markeredgewidth=1.5, clip_on=False)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1, title=panel.title)
    ax.set(xlabel="False-positive rate (normal called anomalous)", ylabel="True-positive rate (anomalous found)")
    _legend(ax)


def _draw_precision(ax: Axes, panel: PrecisionPanel) -> None:
    ax.axhline(panel.chance, color="#BBBBBB", linewidth=0.8, label=f"chance, {panel.chance:.3f}")
    _draw_band(ax, panel.band, step="pre")
    for text, (recall, precision), look in _looks(panel.curves):
        ax.step(recall, precision, where="pre", label=text, **look)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1, title=panel.title)
    ax.set(xlabel="Recall (anomalous found)", ylabel="Precision (found that are anomalous)")
    _legend(ax)


def _draw_froc(ax: Axes, panel: FrocPanel) -> None:
    _draw_band(ax, panel.band, step="post")
    for text, (false, sensitivity), look in _looks(panel.curves):
        ax.step(false, sensitivity, where="post", label=text, **look)
    ax.set_xscale("log", base=2)
    ticks = [0.125, 0.25, 0.5, 1, 2, 4, 8]
    ax.set_xticks(ticks, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    ax.set(xlim=(ticks[0] * 0.97, ticks[-1] * 1.03), ylim=(-0.01, 1.01), box_aspect=1, title=panel.title)
    ax.set(xlabel="False findings per scan", ylabel="Sensitivity (lesions found)")
    _legend(ax)


def _looks(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray], dict[str, Any]]]:
    """Curves with how they are drawn: the first is what it is about."""
    for number, (text, curve) in enumerate(curves.items()):
        look = {"color": ANOMALOUS, "linewidth": 2} if number == 0 else {"color": OTHER, "linewidth": 1.2, "linestyle": "--"}
        yield text, curve, look


def _draw_band(ax: Axes, band: tuple[np.ndarray, np.ndarray, np.ndarray] | None, step: Literal["pre", "post"] | None = None) -> None:
    if band is not None:
        ax.fill_between(*band, step=step, color=ANOMALOUS, alpha=0.18, linewidth=0, label="95 % band, by patient")


def _legend(ax: Axes) -> None:
    """Below the axes, which move up for it: curves may run anywhere within them."""
    ax.set_anchor("N")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=8, frameon=False)


def _draw_scores(ax: Axes, panel: ScorePanel) -> None:
    edges, logarithmic = score_bins(panel.scores)
    for label, name, colour, hatch in ((0, "normal", NORMAL, None), (1, "anomalous", ANOMALOUS, "////")):
        values = panel.scores[panel.labels == label]
        if values.size:
            look: dict[str, Any] = {"color": (colour, 0.35), "edgecolor": colour, "hatch": hatch, "linewidth": 1.2}
            share = np.full(values.size, 1 / values.size)
            ax.hist(values, edges.tolist(), weights=share, histtype="stepfilled", label=f"{name} (n = {values.size})", **look)
    if panel.threshold is not None:
        ax.axvline(panel.threshold, color="black", linewidth=1.2, linestyle="--", label=f"threshold of the run ({panel.threshold:.4g})")
    if logarithmic:
        ax.set_xscale("log")
    ax.set(title=panel.title, xlabel="Score (higher is more anomalous)", ylabel="Share of the class")
    ax.margins(y=0.3)  # room for the legend above the bars
    ax.legend(loc="upper right", fontsize=8, framealpha=1)


def score_bins(scores: np.ndarray) -> tuple[np.ndarray, bool]:
    """Edges of about 40 bins from the lowest to the highest score, and whether they are equal on a logarithmic axis."""
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        width = abs(low) / 2 or 0.5
        return np.linspace(low - width, high + width, 12), False
    if low > 0 and high > 20 * float(np.median(scores)):
        return np.geomspace(low, high, 41), True
    return np.linspace(low, high, 41), False
