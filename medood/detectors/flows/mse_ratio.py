"""Distance from the mean of the normal images against the distance from the mean of others."""

from __future__ import annotations

import torch
from torch import Tensor

from medood.core.detector import Batch, ImageSpec, Phase, Update
from medood.core.running.processes import together
from medood.detectors.flows.rows import RowDetector, RowPlan, Standardise, contrast_of
from medood.features.interface import Extractor


class MSERatio(RowDetector):
    """Squared distance from the mean of the normal images less that from the mean of a contrast, on frozen features.

    A baseline of Schmier et al., "Anomaly Detection with Contrastive Normalizing Flows" (2022): the ratio of two Gaussians of the same
    covariance. It is linear in the features, so it says how far an image lies on the side of the contrast and nothing else; what is unlike
    both may have any score. Features as for `mse`; no map.

    sphere  scale every image's features to length 1 first
    """

    localises = False
    learns_from_contrast = True
    other_mean_: Tensor  # (d,), of the contrast, where the normal images have mean 0

    def __init__(self, spec: ImageSpec, features: Extractor, *, sphere: bool = False) -> None:
        super().__init__(spec, features, RowPlan(sphere=sphere))
        self.fitted_later("other_mean_")

    def phases(self) -> list[Phase]:
        return [_Means(self)]

    def anomaly(self, rows: Tensor) -> Tensor:
        return rows.square().mean(2) - (rows - self.other_mean_).square().mean(2)


class _Means(Standardise):
    def begin(self) -> None:
        super().begin()
        self.sum, self.count = torch.zeros(self.detector.width, dtype=torch.float64), 0

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        others = together(self.detector.raw(contrast_of(batch).image)[:, 0])
        self.sum += others.cpu().double().sum(0)
        self.count += len(others)
        return super().step(batch, update)

    def finish(self) -> None:
        super().finish()
        detector, mean = self.detector, self.sum / self.count
        detector.other_mean_ = (mean.to(detector.mean_) - detector.mean_) / detector.divisor_
