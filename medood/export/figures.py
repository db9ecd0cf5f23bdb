"""ROC curves and score histograms as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medood.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue, vermilion and grey of Okabe and Ito: told apart with every colour vision, and by line style or hatching in print.
NORMAL, ANOMALOUS, OTHER = "#0072B2", "#D55E00", "#767676"
_PANEL = (4.6, 4.2)  # inches
_STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "medood", "svg.fonttype": "path"}


@dataclass(frozen=True, eq=False)
class RocPanel:
    """One ROC plot. `curves` and `points` map a legend text to (false-positive rate, true-positive rate); the first curve is the score."""

    title: str
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ScorePanel:
    """Histograms of scores (n,) with labels (n,) 0 or 1; `threshold` is drawn when there is one."""

    title: str
    scores: np.ndarray
    labels: np.ndarray
    threshold: float | None = None


def roc_figure(panels: Sequence[RocPanel]) -> Figure:
    """ROC curves side by side."""
    figure, axes = grid_of_axes(1, len(panels))
    for panel, ax in zip(panels, axes[0], strict=True):
        _draw_roc(ax, panel)
    return figure


def score_figure(panels: Sequence[ScorePanel]) -> Figure:
    """Histograms of the scores of normal and of anomalous rows, each as a share of its own class."""
    figure, axes = grid_of_axes(1, len(panels))
    for panel, ax in zip(panels, axes[0], strict=True):
        _draw_scores(ax, panel)
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
    for number, (text, (fpr, tpr)) in enumerate(panel.curves.items()):
        look = {"color": ANOMALOUS, "linewidth": 2} if number == 0 else {"color": OTHER, "linewidth": 1.2, "linestyle": "--"}
        ax.plot(fpr, tpr, label=text, **look)
    for (text, (x, y)), marker in zip(panel.points.items(), "osD^", strict=False):
        ax.plot([x], [y], marker, label=text, color=NORMAL, markersize=6, markerfacecolor="white", markeredgewidth=1.5, clip_on=False)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title=panel.title)
    ax.set(xlabel="False-positive rate (normal called anomalous)", ylabel="True-positive rate (anomalous found)")
    ax.legend(loc="lower right", fontsize=8, framealpha=1)


def _draw_scores(ax: Axes, panel: ScorePanel) -> None:
    edges, logarithmic = _bins(panel.scores)
    for label, name, colour, hatch in ((0, "normal", NORMAL, None), (1, "anomalous", ANOMALOUS, "////")):
        values = panel.scores[panel.labels == label]
        if values.size:
            look = {"color": (colour, 0.35), "edgecolor": colour, "hatch": hatch, "linewidth": 1.2}
            share = np.full(values.size, 1 / values.size)
            ax.hist(values, edges, weights=share, histtype="stepfilled", label=f"{name} (n = {values.size})", **look)
    if panel.threshold is not None:
        ax.axvline(panel.threshold, color="black", linewidth=1.2, linestyle="--", label=f"threshold of the run ({panel.threshold:.4g})")
    if logarithmic:
        ax.set_xscale("log")
    ax.set(title=panel.title, xlabel="Score (higher is more anomalous)", ylabel="Share of the class")
    ax.margins(y=0.3)  # room for the legend above the bars
    ax.legend(loc="upper right", fontsize=8, framealpha=1)


def _bins(scores: np.ndarray) -> tuple[np.ndarray, bool]:
    """Edges of about 40 bins from the lowest to the highest score, and whether they are equal on a logarithmic axis."""
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        width = abs(low) / 2 or 0.5
        return np.linspace(low - width, high + width, 12), False
    if low > 0 and high > 20 * float(np.median(scores)):
        return np.geomspace(low, high, 41), True
    return np.linspace(low, high, 41), False
