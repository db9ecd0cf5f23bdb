"""Features as rows of numbers of one scale, one row an image or one a place, and scores of rows as scores of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.device import exact_arithmetic
from medood.core.errors import TrainingError
from medood.core.running.processes import together
from medood.core.types import Pool, Statistic
from medood.features.grids import cells, finest_grid, joined, map_of, map_scores, pooled, smoothed
from medood.features.interface import Extractor
from medood.nets.densities.neighbours import Reservoir, scale_of

_MOST = 20_000  # rows that the scale is taken from
_LEAST = 0.01  # deviation along a principal axis, as a share of the largest, below which it is not brought to 1
_FARTHEST = 1e30  # the score of what is so far off that nothing finite can be computed of it

Level = Literal["image", "location"]


@dataclass(frozen=True)
class RowPlan:
    """How features become rows.

    level       "image": mean and maximum of every channel over the body; "location": every place of the grid
    components  principal axes of the normal rows that are kept, each brought to deviation 1; 0: all channels as they are
    sphere      scale every row to length 1 first
    pool        at level "location", how the map becomes the image's score
    percentile  see `pool`
    """

    level: Level = "image"
    components: int = 0
    sphere: bool = False
    pool: Pool = "mean"
    percentile: float = 98.0


class RowDetector(Detector):
    """What detectors share that look at one row of features at a time."""

    mean_: Tensor  # (d,)
    divisor_: Tensor  # (d,)
    axes_: Tensor  # (d, components); empty where channels stay as they are
    lowest_: Tensor  # (), the lowest score of a place in the training images

    def __init__(self, spec: ImageSpec, features: Extractor, plan: RowPlan) -> None:
        super().__init__(spec)
        self.features, self.plan = features, plan
        self.grid = finest_grid(features.shapes)
        self.local = self.localises = plan.level == "location"
        self.statistics: tuple[Statistic, ...] = ("mean",) if self.local or self.grid == (1, 1) else ("mean", "maximum")
        channels = len(self.statistics) * sum(shape[0] for shape in features.shapes)
        self.width = min(plan.components, channels) or channels
        self.fitted_later("mean_", "divisor_", "axes_")
        self.register_buffer("lowest_", torch.zeros(()))

    def raw(self, image: Tensor) -> Tensor:
        """(B, places, d): features before they are brought to one scale."""
        grids = self.features(image)
        if self.local:
            found = joined([smoothed(grid) for grid in grids]).flatten(2).transpose(1, 2)
        else:
            found = torch.cat(pooled(grids, self.foreground(image), statistics=self.statistics), 1)[:, None]
        return normalize(found, dim=2) if self.plan.sphere else found

    def rows(self, image: Tensor) -> Tensor:
        """(B, places, width)"""
        rows = (self.raw(image) - self.mean_) / self.divisor_
        with exact_arithmetic(rows.device):
            return rows @ self.axes_ if len(self.axes_) else rows

    def places(self, image: Tensor) -> Tensor:
        """bool (B, places): those in the body, or all of an image without one."""
        if not self.local:
            return torch.ones((len(image), 1), dtype=torch.bool, device=image.device)
        inside = cells(self.foreground(image), self.grid).flatten(1)
        return inside | ~inside.any(1, keepdim=True)

    def solve(self, rows: Tensor) -> None:
        """The scale of raw rows (n, d)."""
        if len(rows) < 2 or not bool((rows != rows[:1]).any()):
            raise TrainingError(
                f"{type(self).__name__} found {len(rows)} image(s), or the features of all are the same: give it different normal images."
            )
        self.mean_, self.divisor_ = scale_of(rows, apart=self.spec.of_a_table)
        if self.plan.components:
            self.axes_ = principal_axes((rows - self.mean_) / self.divisor_, self.width)

    def anomaly(self, rows: Tensor) -> Tensor:
        """(B, places): how anomalous rows (B, places, width) are, higher is more."""
        raise NotImplementedError

    def finite_anomaly(self, rows: Tensor) -> Tensor:
        """As `anomaly`; what cannot be computed is as anomalous as can be."""
        found = self.anomaly(rows)
        return torch.where(found.isfinite(), found.clamp(-_FARTHEST, _FARTHEST), _FARTHEST)

    def _score(self, image: Tensor) -> Scores:
        found = self.finite_anomaly(self.rows(image))
        if not self.local:
            return Scores(found[:, 0])
        body = self.foreground(image)
        patches = (found - self.lowest_).clamp(min=0).view(-1, 1, *self.grid) * cells(body, self.grid)
        heat = map_of(patches, body)
        parts = map_scores(heat, body, self.plan.percentile)
        return Scores(parts[self.plan.pool], heat, patches, parts)


def contrast_of(batch: Batch) -> Batch:
    """The contrast of a batch. Raises TrainingError when there is none."""
    if batch.contrast is None:
        raise TrainingError("This batch came without the contrast that the detector learns from: give `contrast` to what trains it.")
    return batch.contrast


def principal_axes(rows: Tensor, number: int) -> Tensor:
    """(d, number): what rows (n, d) of mean 0 are multiplied with to give their principal components, of deviation 1.

    Axes with hardly any deviation are not blown up, and where there are fewer axes than wanted, the rest is 0.
    """
    exact = rows.cpu().double()
    n, d = exact.shape
    if n < d:  # the smaller of the two matrices with the same eigenvalues
        values, vectors = torch.linalg.eigh(exact @ exact.T / n)
        vectors = exact.T @ vectors / (values.clamp(min=1e-12 * float(values[-1])) * n).sqrt()
    else:
        values, vectors = torch.linalg.eigh(exact.T @ exact / n)
    values, vectors = values.flip(0)[:number].clamp(min=0), vectors.flip(1)[:, :number]
    deviations = values.sqrt()
    found = torch.where(values > 1e-10 * values[0], 1.0, 0.0) * vectors / deviations.clamp(min=_LEAST * float(deviations[0]))
    axes = torch.zeros((d, number), dtype=rows.dtype, device=rows.device)
    axes[:, : found.shape[1]] = found.to(rows)
    return axes


class Standardise(Phase):
    """Takes the scale from the normal rows, at most 20,000 of them, drawn at random."""

    name = "standardise"

    def __init__(self, detector: RowDetector) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.chosen = Reservoir(_MOST, seed=0)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.chosen.add(together(self.detector.raw(batch.image)[self.detector.places(batch.image)]))
        return {}

    def finish(self) -> None:
        self.detector.solve(self.chosen.rows)


class Lowest(Phase):
    """Finds the lowest score among the places of the normal images: from there on maps count, so that outside the body is nothing."""

    name = "lowest"

    def __init__(self, detector: RowDetector) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.found: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        scores = self.detector.finite_anomaly(self.detector.rows(batch.image))
        self.found.append(together(scores[self.detector.places(batch.image)].min()[None]).min())
        return {}

    def finish(self) -> None:
        self.detector.lowest_.copy_(torch.stack(self.found).min())
