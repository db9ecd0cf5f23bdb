"""The ratio of two densities of features."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from medood.core.detector import Batch, ImageSpec, Phase, Update
from medood.core.types import NonNegativeFloat, NonNegativeInt, Percent, Pool, PositiveFloat, PositiveInt
from medood.detectors.flows.densities import DensityDetector, Learning, LearnsDensity, Likelihood
from medood.detectors.flows.rows import Lowest, RowPlan, Standardise, contrast_of
from medood.features.interface import Extractor


class FlowRatio(DensityDetector):
    """How much likelier an image's features are under a flow of a contrast than under one of the normal images, on frozen features.

    As "Flow-ratio" in Schmier et al., "Anomaly Detection with Contrastive Normalizing Flows" (2022), after Schirrmeister et al.,
    "Understanding Anomaly Detection with Deep Invertible Networks through Hierarchies of Distributions and Features" (NeurIPS 2020). The
    score is log density under the contrast less log density under the normal images. Far from both it is the difference of two guesses,
    and may be low. Flows and features as for `flow`; both see the scale of the normal images. Held-out normal images choose the epoch of
    the one flow, held-out images of the contrast that of the other.

    from_contrast  begin the flow of the normal images with what the other one learned, as Schirrmeister et al. do
    level          "image" or "location"
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
    epochs         of training, of each flow
    """

    learns_from_contrast = True

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
        from_contrast: bool = False,
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
        self.from_contrast = from_contrast
        self.other_flow = self.new_flow()

    def phases(self) -> list[Phase]:
        epochs = self.learning.epochs
        after = [Lowest(self)] if self.local else []
        return [Standardise(self), _OfContrast(self, self.other_flow, epochs), _OfNormal(self, self.flow, epochs), *after]

    def anomaly(self, rows: Tensor) -> Tensor:
        return self.log_density(self.other_flow, rows) - self.log_density(self.flow, rows)


class _OfContrast(LearnsDensity):
    """The other flow learns the density of the contrast."""

    name = "contrast_likelihood"

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        (other,) = self.drawn(contrast_of(batch))
        return self.follow(-other.mean(), update, {})

    def validate(self, batch: Batch) -> Tensor | None:
        return None if batch.contrast is None else -self.densities(self.flow, batch.contrast).nanmean(1)


class _OfNormal(Likelihood):
    detector: FlowRatio

    def begin(self) -> None:
        if self.detector.from_contrast:
            self.flow.load_state_dict(self.detector.other_flow.state_dict())
