"""The density in which normal features outnumber those of a contrast."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medood.core.detector import Batch, ImageSpec, Phase, Update
from medood.core.errors import MedoodWarning
from medood.core.running.processes import mean, together
from medood.core.types import NonNegativeFloat, NonNegativeInt, Percent, Pool, PositiveFloat, PositiveInt
from medood.detectors.flows.densities import DensityDetector, Learning, LearnsDensity, Likelihood, OnRows
from medood.detectors.flows.rows import Lowest, RowPlan, Standardise, contrast_of
from medood.features.interface import Extractor

_QUANTILE = 0.1  # of the log density of normal rows, from which bounds are counted
_FEW, _MANY = 0.01, 0.99  # shares of the contrast below the bound with which the method is no longer what it says


class ContrastiveFlow(DensityDetector):
    """How unlikely an image's features are where the normal images outnumber a contrast, by a normalizing flow, on frozen features.

    Schmier et al., "Anomaly Detection with Contrastive Normalizing Flows" (2022): the likelihood of normal images rises and that of a
    contrast falls, as far as a bound. Without the bound the best density would be the positive part of the difference of both, made a
    density again; the score is its -log. The paper counts the bound, 0, from log densities of 128 numbers on a sphere; here it is counted
    from what a plain flow, which is learned first, says of the normal images. A bound above what that flow says of the contrast switches
    the method off: the history has the share `clamped` of the contrast below the bound in every epoch, and there is a warning when the
    bound leaves nothing to learn. Held-out images of both choose the epoch. Flows and features as for `flow`.

    bound          "dimensions": the tenth percentile of the normal log densities less `nats` for each number that the flow sees, at least
                   ln 10; "quantile": that percentile plus `offset`; "absolute": `epsilon`
    nats           see `bound`
    offset         see `bound`; -2.3, -ln 10: a tenth of the density of the tenth percentile
    epsilon        see `bound`: a log density of standardised components
    contrast_epochs  of the second phase
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
    epochs         of the first phase, the plain flow
    """

    learns_from_contrast = True
    bound_: Tensor  # ()

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
        bound: Literal["dimensions", "quantile", "absolute"] = "dimensions",
        nats: NonNegativeFloat = 1.0,
        offset: float = -2.3,
        epsilon: float = 0.0,
        contrast_epochs: PositiveInt = 100,
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
        self.bound, self.nats, self.offset, self.epsilon, self.contrast_epochs = bound, nats, offset, epsilon, contrast_epochs
        self.register_buffer("bound_", torch.zeros(()))

    def phases(self) -> list[Phase]:
        after = [Lowest(self)] if self.local else []
        plain = Likelihood(self, self.flow, self.learning.epochs)
        return [Standardise(self), plain, _Bound(self), _Contrast(self, self.flow, self.contrast_epochs), *after]

    def bound_of(self, densities: Tensor) -> float:
        """The bound, from log densities (n,) of normal rows under the plain flow."""
        if self.bound == "absolute":
            return self.epsilon
        tenth = float(np.quantile(densities.cpu().numpy(), _QUANTILE))  # torch's own takes 16 million numbers at most
        return tenth + self.offset if self.bound == "quantile" else tenth - max(math.log(10), self.nats * self.width)


class _Bound(OnRows):
    """Sets the bound, and looks whether the contrast is below it already."""

    name = "bound"
    detector: ContrastiveFlow

    def begin(self) -> None:
        self.normal: list[Tensor] = []
        self.others: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        for densities, of in ((self.normal, batch), (self.others, contrast_of(batch))):
            found = self.densities(self.detector.flow, of)
            densities.append(together(found[~found.isnan()][:: max(1, found.shape[1] // 64)]))
        return {}

    def finish(self) -> None:
        detector = self.detector
        detector.bound_.fill_(detector.bound_of(torch.cat(self.normal)))
        below = float((torch.cat(self.others) < detector.bound_).float().mean())
        if below > _MANY:
            warnings.warn(
                f"ContrastiveFlow: {below:.1%} of the contrast lies below the bound of {float(detector.bound_):.4g} before it is learned "
                "from, so there is nothing to learn, and the result is that of a plain flow. Lower the bound, or take a contrast that is "
                "more like the normal images.",
                MedoodWarning,
                stacklevel=2,
            )


class _Contrast(LearnsDensity):
    """Likelihood up for normal rows, down to the bound for those of the contrast."""

    name = "contrast"
    detector: ContrastiveFlow

    def begin(self) -> None:
        self.clamped: Tensor | None = None

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        normal, other = self.drawn(batch, contrast_of(batch))
        bound = self.detector.bound_
        self.clamped = mean((other < bound).float().mean(1))
        loss = other.maximum(bound).mean() - normal.mean()
        return self.follow(loss, update, {"nll": -normal.mean(), "clamped": self.clamped})

    def finish(self) -> None:
        if self.clamped is not None and float(self.clamped) < _FEW:
            warnings.warn(
                f"ContrastiveFlow: hardly any of the contrast ({float(self.clamped):.1%}) has come below the bound of "
                f"{float(self.detector.bound_):.4g}, so that the flow went on flattening what lies above it. Raise the bound, or train for "
                "longer.",
                MedoodWarning,
                stacklevel=2,
            )

    def validate(self, batch: Batch) -> Tensor:
        normal = self.densities(self.flow, batch).nanmean(1)
        if batch.contrast is None:
            return -normal
        return self.densities(self.flow, batch.contrast).maximum(self.detector.bound_).nanmean(1) - normal
