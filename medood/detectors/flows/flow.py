"""The density of normal features, by a normalizing flow."""

from __future__ import annotations

from typing import Literal

from medood.core.detector import ImageSpec, Phase
from medood.core.types import NonNegativeFloat, NonNegativeInt, Percent, Pool, PositiveFloat, PositiveInt
from medood.detectors.flows.densities import DensityDetector, Learning, Likelihood
from medood.detectors.flows.rows import Lowest, RowPlan, Standardise
from medood.features.interface import Extractor


class Flow(DensityDetector):
    """How unlikely an image's features are under a normalizing flow of the normal images', on frozen features.

    As "Flow" in Schmier et al., "Anomaly Detection with Contrastive Normalizing Flows" (2022): blocks of affine coupling, a learned gain
    and a permutation. Of whole images: mean and maximum of every channel over the body; the score is -log density, which may be below 0.
    Or of every place, as CFLOW (Gudovskiy et al., WACV 2022) has it: one flow for all, which knows where the place lies; the map is -log
    density above the lowest among the training images. Channels are brought to mean 0 and deviation 1, then the largest principal
    components are taken, each of deviation 1. Held-out normal images choose the epoch. It learns in hundreds of steps: take batches of
    32 images or more, and `schedule: cosine`.

    level          "image" or "location"
    components     principal components that the flow sees; 0: all channels as they are
    sphere         scale every image's features to length 1 first, as the paper does
    coupling       "tanh", "scaled_tanh": affine, as in FrEIA 0.2 and as since 2023; "spline": for few numbers, such as those of tables
    blocks         of the flow
    width          of the hidden layer of a block's perceptron
    noise          deviation of the noise that is added in training
    places         at level "location", places of an image that a step looks at
    pool           at level "location", how the map becomes the image's score: "mean", "maximum" or "percentile" over the body
    percentile     see `pool`
    learning_rate  of Adam
    weight_decay   of Adam
    epochs         of training
    """

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
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

    def phases(self) -> list[Phase]:
        after = [Lowest(self)] if self.local else []
        return [Standardise(self), Likelihood(self, self.flow, self.learning.epochs), *after]
