"""Deep autoencoding Gaussian mixture model."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.optim import Adam

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, TrainingError
from medood.core.running.processes import together
from medood.core.types import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from medood.nets.dcgan import coder, drawer, glorot, norms
from medood.nets.densities.mixture import Mixture, exact
from medood.nets.error_maps import absolute_error, squared_error
from medood.nets.images.signed import signed, unsigned

_HIDDEN = 10
_LEAST_LENGTH = 0.01  # of a pixel, where the range is -1..1


class DAGMM(Detector):
    """A Gaussian mixture of an autoencoder's code and of how well it reconstructs, trained together with it.

    Zong et al., ICLR 2018; the baseline "DAGMM" of Golan and El-Yaniv (NeurIPS 2018), whose code keeps the mixture of its last batch and
    caps the energy, and so stays near chance. Here the mixture that scores is that of all training images, in double precision. Takes
    any range of values, stretched to -1..1 inside, and any size of 8 pixels or more that can be halved until the shorter side has 4 to 7
    pixels.

    width          channels of the first convolution; they double up to 8 width
    code           numbers between coder and drawer; few, as the mixture sees them all
    components     of the mixture
    hidden         units of the network that says which component an image belongs to; 10 more follow
    dropout        in it
    energy_weight, spread_weight   lambda 1, of the mean energy, and lambda 2, of the sum of 1 / variance over components and directions,
                   which keeps the mixture from shrinking to a point; 0.01 and 0.0005 in Golan and El-Yaniv's code, 0.1 and 0.005 by Zong
    ridge          added to every variance
    score          by "energy" or "reconstruction", the mean squared error where the range is -1..1
    learning_rate  of Adam
    epochs         200 in Golan and El-Yaniv. Set `training.clip_norm: 5`: the energy of an image far from the mixture pulls hard

    Score: the energy, which is -log of the mixture's density. Parts: "energy", "reconstruction". `map` is |image - reconstruction|.
    """

    weights_: Tensor  # (components,)
    means_: Tensor  # (components, code + 2)
    factors_: Tensor  # (components, code + 2, code + 2), lower triangular, of the covariances

    def __init__(
        self,
        spec: ImageSpec,
        *,
        width: PositiveInt = 64,
        code: PositiveInt = 5,
        components: PositiveInt = 3,
        hidden: PositiveInt = 64,
        dropout: Fraction = 0.5,
        energy_weight: NonNegativeFloat = 0.01,
        spread_weight: NonNegativeFloat = 0.0005,
        ridge: PositiveFloat = 1e-3,
        score: Literal["energy", "reconstruction"] = "energy",
        learning_rate: PositiveFloat = 1e-3,
        epochs: PositiveInt = 200,
    ) -> None:
        super().__init__(spec)
        if dropout == 1:
            raise MedoodError("DAGMM: `dropout` is a share below 1: of all units nothing would be left.")
        self.coder, self.drawer = coder(spec, "DAGMM", width, code), drawer(spec, "DAGMM", width, code)
        self.chooser = glorot(
            nn.Sequential(
                nn.Linear(code + 2, hidden),
                nn.Tanh(),
                nn.Dropout(dropout),
                nn.Linear(hidden, _HIDDEN),
                nn.Tanh(),
                nn.Dropout(dropout),
                nn.Linear(_HIDDEN, components),
            )
        )
        if components == 1:  # all images belong to it, whatever the network says
            self.chooser.requires_grad_(False)
        self.energy_weight, self.spread_weight, self.ridge, self.by = energy_weight, spread_weight, ridge, score
        self.learning_rate, self.epochs = learning_rate, epochs
        self.least = _LEAST_LENGTH * math.prod(spec.shape) ** 0.5
        self.register_buffer("weights_", torch.zeros(components))
        self.register_buffer("means_", torch.zeros(components, code + 2))
        self.register_buffer("factors_", torch.zeros(components, code + 2, code + 2))

    def phases(self) -> list[Phase]:
        return [_Together(self), _Mixture(self)]

    def described(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Of images in -1..1: (B, code + 2), the code, the relative error and the cosine of the reconstruction; and the latter."""
        code = self.coder(image)
        drawn = self.drawer(code)
        error = norms(image - drawn) / norms(image, self.least)  # an image may be 0 everywhere
        cosine = cosine_similarity(image.flatten(1), drawn.flatten(1), eps=1e-3)
        return torch.cat([code, error[:, None], cosine[:, None]], 1), drawn

    def solve(self, rows: Tensor, shares: Tensor) -> None:
        """Keep the mixture of rows (n, code + 2), of which shares (n, components) belong to each component."""
        if not bool(rows.isfinite().all()):
            raise TrainingError("DAGMM's network makes no numbers of the training images: its training diverged.")
        mixture = Mixture.of(exact(rows), exact(shares), self.ridge)
        self.weights_.copy_(mixture.weights)
        self.means_.copy_(mixture.means)
        self.factors_.copy_(mixture.factors)

    def _score(self, image: Tensor) -> Scores:
        seen = signed(image, self.spec)
        rows, drawn = self.described(seen)
        energy = Mixture(exact(self.weights_), exact(self.means_), exact(self.factors_)).energy(rows).float()
        parts = {"energy": energy, "reconstruction": squared_error(seen, drawn).mean((1, 2, 3))}
        return Scores(parts[self.by], absolute_error(image, unsigned(drawn, self.spec)), parts=parts)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        return {"x' (reconstruction)": unsigned(self.drawer(self.coder(signed(image, self.spec))), self.spec)}


class _Together(Phase):
    """Autoencoder and mixture at once; the mixture of a step is that of its batch. Its last epoch counts: see `validate` of Phase."""

    name = "together"

    def __init__(self, detector: DAGMM) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        networks = (detector.coder, detector.drawer, detector.chooser)
        parameters = [parameter for network in networks for parameter in network.parameters() if parameter.requires_grad]
        self.optimizers = {"dagmm": Adam(parameters, detector.learning_rate, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        detector, image = self.detector, signed(batch.image, self.detector.spec)
        rows, drawn = detector.described(image)
        rows, shares = together(rows), together(detector.chooser(rows).softmax(1))
        mixture = Mixture.of(exact(rows), exact(shares), detector.ridge)
        reconstruction = squared_error(image, drawn).mean()
        energy, spread = mixture.energy(rows).mean(), mixture.inverse_variances()
        update((reconstruction + detector.energy_weight * energy + detector.spread_weight * spread).float(), "dagmm")
        return {"reconstruction": reconstruction.detach(), "energy": energy.detach(), "spread": spread.detach()}


class _Mixture(Phase):
    """The mixture of all training images, of the network in the state in which it scores."""

    name = "mixture"

    def __init__(self, detector: DAGMM) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.rows: list[Tensor] = []
        self.shares: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        rows, _ = self.detector.described(signed(batch.image, self.detector.spec))
        self.rows.append(together(rows))
        self.shares.append(together(self.detector.chooser(rows).softmax(1)))
        return {}

    def finish(self) -> None:
        self.detector.solve(torch.cat(self.rows), torch.cat(self.shares))
