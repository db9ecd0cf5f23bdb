"""Distance from the mean of the normal images."""

from __future__ import annotations

from torch import Tensor

from medood.core.detector import ImageSpec, Phase
from medood.detectors.flows.rows import RowDetector, RowPlan, Standardise
from medood.features.interface import Extractor


class MSE(RowDetector):
    """Mean squared distance from the mean of the normal images, on frozen features.

    The plainest baseline of Schmier et al., "Anomaly Detection with Contrastive Normalizing Flows" (2022). Mean and maximum of every
    channel over the body, each brought to mean 0 and deviation 1; no map. With `sphere` it only looks at directions, as the paper does.

    sphere  scale every image's features to length 1 first
    """

    localises = False

    def __init__(self, spec: ImageSpec, features: Extractor, *, sphere: bool = False) -> None:
        super().__init__(spec, features, RowPlan(sphere=sphere))

    def phases(self) -> list[Phase]:
        return [Standardise(self)]

    def anomaly(self, rows: Tensor) -> Tensor:
        return rows.square().mean(2)
