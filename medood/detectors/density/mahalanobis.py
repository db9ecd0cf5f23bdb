"""Mahalanobis distance from the normal images."""

from __future__ import annotations

import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import TrainingError
from medood.core.running.processes import together
from medood.core.types import PositiveInt, Statistic
from medood.features.grids import pooled, statistics_of
from medood.features.interface import Extractor
from medood.nets.densities.neighbours import scale_of

_LEAST_SHRINKAGE = 1e-4  # so that no direction is without variance


class Mahalanobis(Detector):
    """Mahalanobis distance from the mean of the normal images, on frozen features.

    Rippel et al., ICPR 2020: one Gaussian of what every channel has over the body; no map. Numbers are brought to deviation 1, and the
    covariance is shrunk as Ledoit and Wolf say (J. Multivariate Analysis 2004), so that fewer images than numbers are no obstacle. Takes
    memory for (images x numbers), never for (numbers x numbers) with few images.

    parts       the image is cut into parts x parts rectangles, each with numbers of its own: 2 or 3 where images show the same anatomy in
                the same place
    statistics  of every channel: "mean" (as in the paper), "maximum"; the maximum is sensitive to small things, and to single noisy places
    """

    localises = False
    mean_: Tensor  # (d,)
    divisor_: Tensor  # (d,)
    directions_: Tensor  # (d, r), the principal axes, r the smaller of images and d
    weights_: Tensor  # (r + 1,), one over the deviation along each axis, and in every direction besides

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
        parts: PositiveInt = 1,
        statistics: tuple[Statistic, ...] = ("mean", "maximum"),
    ) -> None:
        super().__init__(spec)
        self.features, self.parts, self.statistics = features, parts, statistics_of(statistics, "mahalanobis")
        self.fitted_later("mean_", "divisor_", "directions_", "weights_")

    def phases(self) -> list[Phase]:
        return [_Fit(self)]

    def rows(self, image: Tensor) -> Tensor:
        """(B, d)"""
        return torch.cat(pooled(self.features(image), self.foreground(image), self.parts, self.statistics), 1)

    def solve(self, rows: Tensor) -> None:
        """The Gaussian of rows (n, d). Its covariance (1 - s) S + s m 1 has the axes of S, and no others are ever needed."""
        if len(rows) < 2 or not bool((rows != rows[0]).any()):
            raise TrainingError(
                f"mahalanobis found {len(rows)} image(s), or the features of all are the same: give it different normal images."
            )
        self.mean_, self.divisor_ = scale_of(rows, apart=self.spec.of_a_table)
        centred = ((rows - self.mean_) / self.divisor_).double().cpu()
        shrinkage = max(float(ledoit_wolf_shrinkage(centred.numpy(), assume_centered=True)), _LEAST_SHRINKAGE)
        _, lengths, axes = torch.linalg.svd(centred / len(rows) ** 0.5, full_matrices=False)
        variances = lengths.square()
        floor = shrinkage * variances.sum() / rows.shape[1]
        deviations = torch.cat([(1 - shrinkage) * variances + floor, floor[None]]).sqrt()
        self.directions_, self.weights_ = axes.T.contiguous().to(rows), (1 / deviations).to(rows)

    def _score(self, image: Tensor) -> Scores:
        centred = (self.rows(image) - self.mean_) / self.divisor_
        along = centred @ self.directions_
        besides = centred - along @ self.directions_.T
        squares = (along * self.weights_[:-1]).square().sum(1) + (besides * self.weights_[-1]).square().sum(1)
        return Scores(squares.sqrt())


class _Fit(Phase):
    name = "fit"

    def __init__(self, detector: Mahalanobis) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.rows: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.rows.append(together(self.detector.rows(batch.image)))
        return {}

    def finish(self) -> None:
        self.detector.solve(torch.cat(self.rows))
