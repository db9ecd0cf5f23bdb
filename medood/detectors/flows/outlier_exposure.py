"""The density of normal features, pushed down where a contrast lies."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from medood.core.detector import Batch, ImageSpec, Phase, Update
from medood.core.types import NonNegativeFloat, NonNegativeInt, Percent, Pool, PositiveFloat, PositiveInt
from medood.detectors.flows.densities import DensityDetector, Learning, LearnsDensity, Likelihood
from medood.detectors.flows.rows import Lowest, RowPlan, Standardise, contrast_of
from medood.features.interface import Extractor


class OutlierExposure(DensityDetector):
    """As `flow`, whose likelihood then learns to be lower by a margin for the images of a contrast, on frozen features.

    Hendrycks et al., "Deep Anomaly Detection with Outlier Exposure" (ICLR 2019), in the form for densities, as Schmier et al., "Anomaly
    Detection with Contrastive Normalizing Flows" (2022), compare with it. A second phase adds max(0, margin + a - b) to the loss, a the
    -log density of a normal image, which does not move here, and b that of one of the contrast. Held-out images of both choose the epoch.

    margin           in nats for each number that the flow sees
    exposure_epochs  of the second phase
    level            "image" or "location"
    components     principal components that the flow sees; 0: all channels as they are
    sphere         scale every image's features to length 1 first, as the paper does
    coupling       "tanh", "scaled_tanh": affine, as in FrEIA 0.2 and as since 2023; "spline": for few numbers, such as those of tables
    blocks         of a flow
    width          of the hidden layer of a block's perceptron
    noise          deviation of the noise that is added in training
    places         at level "location", places of an image that a step looks at
    pool           at level "location", how the map becomes the image's score: "mean", "maximum" or "percentile" over the body
    percentile     see `pool`
    learning_rate  of Adam
    weight_decay   of Adam
    epochs         of the first phase
    """

    learns_from_contrast = True

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
        margin: PositiveFloat = 1.0,
        exposure_epochs: PositiveInt = 20,
        level: Literal["image", "location"] = "image",
        components: NonNegativeInt = 128,
        sphere: bool = False,
        coupling: Literal["tanh", "scaled_tanh", "spline"] = "tanh",
        blocks: PositiveInt = 8,
        width: PositiveInt = 512,
        noise: NonNegativeFloat = 0.1,
        places: PositiveInt = 64,
        pool: Pool = "mean",
        percentile: Percent = 98.0,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 1e-5,
        epochs: PositiveInt = 100,
    ) -> None:
        plan = RowPlan(level, components, sphere, pool, percentile)
        learning = Learning(blocks, width, coupling, noise, places, learning_rate, weight_decay, epochs)
        super().__init__(spec, features, plan, learning)
        self.margin, self.exposure_epochs = margin * self.width, exposure_epochs

    def phases(self) -> list[Phase]:
        after = [Lowest(self)] if self.local else []
        first = Likelihood(self, self.flow, self.learning.epochs)
        return [Standardise(self), first, _Exposure(self, self.flow, self.exposure_epochs), *after]

    def missing(self, normal: Tensor, other: Tensor) -> Tensor:
        """By how much a margin is missed, of logarithms of densities of normal images and of others, elementwise."""
        return (self.margin - normal.detach() + other).relu()


class _Exposure(LearnsDensity):
    name = "exposure"
    detector: OutlierExposure

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        normal, other = self.drawn(batch, contrast_of(batch))
        missed = self.detector.missing(normal, other).mean()
        return self.follow(missed - normal.mean(), update, {"nll": -normal.mean(), "missed": missed})

    def validate(self, batch: Batch) -> Tensor:
        normal = self.densities(self.flow, batch).nanmean(1)
        if batch.contrast is None:
            return -normal
        return self.detector.missing(normal, self.densities(self.flow, batch.contrast).nanmean(1)) - normal
