"""Training curves: what a phase minimised, and how it did on held-out normal images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medood.export.figures import ANOMALOUS, NORMAL, OTHER, grid_of_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito, as the colours of the classes; vermilion is kept for the validation.
_COLOURS = (NORMAL, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", OTHER)
_DASHES = ("-", "--", "-.", ":")
_WIDE = 20.0  # times the smallest value: beyond that, curves of one panel are told apart on a logarithmic axis only


@dataclass(frozen=True, eq=False)
class TrainingPanel:
    """One phase of training. Curves are (epochs, values), both (n,), and need not have a value for every epoch.

    losses      by name, means over an epoch;  validation  mean loss on held-out normal images, empty when the phase has none
    kept        the epoch whose weights the run holds
    """

    title: str
    losses: Mapping[str, tuple[np.ndarray, np.ndarray]]
    validation: tuple[np.ndarray, np.ndarray]
    kept: int


def training_figure(panels: Sequence[TrainingPanel]) -> Figure:
    """The phases side by side."""
    figure, axes = grid_of_axes(1, len(panels))
    for panel, ax in zip(panels, axes[0], strict=True):
        _draw(ax, panel)
    return figure


def _draw(ax: Axes, panel: TrainingPanel) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, (name, (epochs, values)) in enumerate(panel.losses.items()):
        look: dict[str, Any] = {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _DASHES[number % len(_DASHES)], "linewidth": 1.4}
        ax.plot(epochs, values, label=name, marker=_marker(epochs), markersize=3.5, **look)
    epochs, values = panel.validation
    if epochs.size:
        ax.plot(epochs, values, label="held-out normal images", color=ANOMALOUS, linewidth=3, marker=_marker(epochs), zorder=1.5)
    ax.axvline(panel.kept, color="black", linewidth=1, linestyle=":", label=f"epoch that was kept ({panel.kept})")
    shown = np.concatenate([values, *(curve for _, curve in panel.losses.values())])
    if shown.min() > 0 and shown.max() > _WIDE * shown.min():
        ax.set_yscale("log")
    ax.set(title=f"Phase {panel.title}", xlabel="Epoch", ylabel="Mean loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8, frameon=False)


def _marker(epochs: np.ndarray) -> str:
    """Dots while there are few epochs: a single one would not be seen without."""
    return "o" if epochs.size <= 30 else ""
