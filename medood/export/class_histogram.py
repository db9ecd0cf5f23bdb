"""Histograms of the scores of several classes of images in one plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from medood.export.figures import ANOMALOUS, NORMAL, grid_of_axes, score_bins

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Okabe and Ito, after the colours of the two classes that a run knows; each line also has a dash of its own.
_OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#767676")
_DASHES = ("-", "--", "-.", ":")


def class_histogram(scores: Mapping[str, np.ndarray], threshold: float) -> Figure:
    """Outlines of the scores (n,) of each class, by its title, as shares of the class, and the run's threshold."""
    figure, axes = grid_of_axes(1, 1, (6.0, 4.2))
    ax = axes[0, 0]
    edges, logarithmic = score_bins(np.concatenate(list(scores.values())))
    others = iter(range(len(scores)))
    for number, (title, values) in enumerate(scores.items()):
        colour = {"normal": NORMAL, "anomalous": ANOMALOUS}.get(title) or _OTHERS[next(others) % len(_OTHERS)]
        ax.hist(
            values,
            edges.tolist(),
            weights=np.full(values.size, 1 / values.size),
            histtype="step",
            color=colour,
            linewidth=1.6,
            linestyle=_DASHES[number % len(_DASHES)],
            label=f"{title} (n = {values.size})",
        )
    ax.axvline(threshold, color="black", linewidth=1.0, label=f"threshold of the run ({threshold:.4g})")
    if logarithmic:
        ax.set_xscale("log")
    ax.set(xlabel="Score (higher is more anomalous)", ylabel="Share of the class", title="Scores by class")
    ax.margins(y=0.15)
    ax.legend(fontsize=8, framealpha=1)
    return figure
