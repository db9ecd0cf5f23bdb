"""Deep support vector data description."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor, nn
from torch.optim import Adam

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, MedoodWarning, TrainingError
from medood.core.running.processes import together
from medood.core.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from medood.nets.halvings import halvings

_NEAREST_TO_ZERO = 0.1
_COLLAPSED = 1e-4


class DeepSVDD(Detector):
    """Draws the features of normal images together around a centre; the distance from it is the score.

    Ruff et al., "Deep one-class classification", ICML 2018; the baseline "DeepSVDD" of CVAD (Guo et al., IEEE TMI 2023) and "E2E-OC-SVM"
    of Golan and El-Yaniv (NeurIPS 2018). The encoder is first trained as half of an autoencoder; the mean of its features is the centre. It
    has neither biases nor the factors of batch norm, with which it could map every image onto the centre. Takes any range of values: an
    image's contrast is normalised (mean 0, mean absolute value 1), then scaled to 0..1 with the extremes of the training images. Any size
    of 8 pixels or more that can be halved until the shorter side has 4 to 7 pixels.

    objective      "one_class": mean squared distance; "soft_boundary": a sphere that leaves about a share `nu` of the images outside
    nu             see `objective`
    width          channels of the first block; they double up to 8 width. 16 is meant for 256 pixels; 32 gives the authors' network for
                   CIFAR at 32 pixels
    code           number of features, a multiple of 16
    learning_rate  of both Adam optimizers; the authors divide it by ten after 250 and 50 epochs: `training.schedule: step` with
                   `milestones: {autoencoder: [0.714], svdd: [0.333]}`
    weight_decay   of both
    autoencoder_epochs, epochs   of the two trainings
    warmup_epochs  before which the radius of the soft boundary stays 0; afterwards it follows the last batch
    attribution    whether the score has a map: |d score / d pixel|, mean over channels. It tells what the score reacts to, not how
                   anomalous a pixel is
    blur           sigma in pixels of a Gaussian over that map

    Score: the squared distance, less the squared radius for the soft boundary; both are parts, "distance" and "boundary". The last epoch
    counts, as features that collapse have the smallest loss of all; training warns when the features of the training images no longer
    differ. The radius that scoring uses is that of all training images, whatever the objective.
    """

    low_: Tensor  # () and
    high_: Tensor  # () of all training images after contrast normalisation
    centre_: Tensor  # (code,)
    radius_: Tensor  # ()
    spread_: Tensor  # () variance of the features, summed, before they are drawn together
    images_: Tensor  # () int64, how many there are to train on
    seen_: Tensor  # () int64, how many the phase "svdd" has seen, the same image counted once per epoch

    def __init__(
        self,
        spec: ImageSpec,
        *,
        objective: Literal["one_class", "soft_boundary"] = "one_class",
        nu: Fraction = 0.1,
        width: PositiveInt = 16,
        code: PositiveInt = 128,
        learning_rate: PositiveFloat = 1e-4,
        weight_decay: NonNegativeFloat = 5e-7,
        autoencoder_epochs: PositiveInt = 350,
        epochs: PositiveInt = 150,
        warmup_epochs: NonNegativeInt = 10,
        attribution: bool = False,
        blur: NonNegativeFloat = 2.0,
    ) -> None:
        super().__init__(spec)
        if nu == 0 or code % 16:
            raise MedoodError(f"DeepSVDD takes a `nu` above 0 and a `code` that is a multiple of 16, found {nu:g} and {code}.")
        times = halvings(spec, "DeepSVDD")
        widths = [width * min(2**k, 8) for k in range(times)]
        grid = spec.height >> times, spec.width >> times
        self.encoder = _encoder(spec.channels, widths, grid, code)
        self.decoder = _decoder(code, grid, widths, spec.channels)
        self.soft, self.nu, self.warmup_epochs = objective == "soft_boundary", nu, warmup_epochs
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.autoencoder_epochs, self.epochs = autoencoder_epochs, epochs
        self.localises = attribution
        self.attribution, self.blur = attribution, GaussianFilter(2, blur) if blur else nn.Identity()
        for name, size in (("low_", ()), ("high_", ()), ("centre_", (code,)), ("radius_", ()), ("spread_", ())):
            self.register_buffer(name, torch.zeros(size))
        for name in ("images_", "seen_"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def phases(self) -> list[Phase]:
        return [_Scale(self), _Autoencoder(self), _Centre(self), _Svdd(self), _Radius(self)]

    def contrast(self, image: Tensor) -> Tensor:
        """(B, C, H, W): each image with mean 0 and mean absolute value 1 over all its pixels and channels; an even image becomes 0."""
        centred = image - image.mean((1, 2, 3), keepdim=True)
        least = 1e-6 * (self.spec.high - self.spec.low)
        return centred / centred.abs().mean((1, 2, 3), keepdim=True).clamp(min=least)

    def prepare(self, image: Tensor) -> Tensor:
        """What the encoder sees: training images lie in 0..1."""
        return (self.contrast(image) - self.low_) / (self.high_ - self.low_)

    def features(self, image: Tensor) -> Tensor:
        """(B, code)."""
        return self.encoder(self.prepare(image))

    def distance(self, image: Tensor) -> Tensor:
        """(B,) squared distances from the centre."""
        return (self.features(image) - self.centre_).square().sum(1)

    def _score(self, image: Tensor) -> Scores:
        distance = self.distance(image)
        parts = {"distance": distance, "boundary": distance - self.radius_.square()}
        heat = self.blur(self._sensitivity(image)) if self.attribution else None
        return Scores(parts["boundary" if self.soft else "distance"], heat, parts=parts)

    @torch.enable_grad()
    def _sensitivity(self, image: Tensor) -> Tensor:
        """(B, 1, H, W): absolute derivative of each image's score, mean over the channels."""
        image = image.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.distance(image).sum(), image)
        return gradient.abs().mean(1, keepdim=True)


def away_from_zero(centre: Tensor, least: float = _NEAREST_TO_ZERO) -> Tensor:
    """Every component at least `least` from 0 on its own side, 0 itself on the positive one: all weights 0 must not be a solution."""
    return torch.where(centre < 0, centre.clamp(max=-least), centre.clamp(min=least))


class _Scale(Phase):
    """Finds the extremes of the training images."""

    name = "scale"

    def __init__(self, detector: DeepSVDD) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.detector.low_.fill_(torch.inf)
        self.detector.high_.fill_(-torch.inf)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        low, high = together(torch.stack(self.detector.contrast(batch.image).aminmax())[None]).aminmax()
        self.detector.low_.copy_(torch.minimum(self.detector.low_, low))
        self.detector.high_.copy_(torch.maximum(self.detector.high_, high))
        return {}

    def finish(self) -> None:
        if not bool(self.detector.high_ > self.detector.low_):
            raise TrainingError("DeepSVDD found no contrast in any training image: check the intensity steps of the transforms file.")


class _Autoencoder(Phase):
    name = "autoencoder"

    def __init__(self, detector: DeepSVDD) -> None:
        self.detector = detector
        self.epochs = detector.autoencoder_epochs
        self.network = nn.Sequential(detector.encoder, detector.decoder)
        parameters = self.network.parameters()
        self.optimizers = {"autoencoder": Adam(parameters, detector.learning_rate, weight_decay=detector.weight_decay, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.validate(batch).mean()
        update(loss, "autoencoder")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        """Sums of squared errors over an image's pixels and channels."""
        image = self.detector.prepare(batch.image)
        return (self.network(image) - image).square().sum((1, 2, 3))


class _Features(Phase):
    """One pass over the training images that collects their features."""

    def __init__(self, detector: DeepSVDD) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.collected: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.collected.append(together(self.detector.features(batch.image)))
        return {}


class _Centre(_Features):
    name = "centre"

    def finish(self) -> None:
        features = torch.cat(self.collected)
        self.detector.centre_.copy_(away_from_zero(features.mean(0)))
        self.detector.spread_.copy_(_spread(features))
        self.detector.images_.fill_(len(features))


class _Svdd(Phase):
    name = "svdd"

    def __init__(self, detector: DeepSVDD) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = detector.encoder.parameters()
        self.optimizers = {"encoder": Adam(parameters, detector.learning_rate, weight_decay=detector.weight_decay, fused=True)}

    def begin(self) -> None:
        self.detector.seen_.zero_()
        self.detector.radius_.zero_()

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        detector = self.detector
        distance = detector.distance(batch.image)
        squared_radius = detector.radius_.square()
        loss = squared_radius + (distance - squared_radius).relu().mean() / detector.nu if detector.soft else distance.mean()
        update(loss, "encoder")
        if detector.soft and bool(detector.seen_ >= detector.warmup_epochs * detector.images_):
            detector.radius_.copy_(_radius(together(distance.detach()), detector.nu))
        detector.seen_ += batch.whole
        return {"loss": loss.detach()}


class _Radius(_Features):
    """The radius of all training images, and whether their features still differ."""

    name = "radius"

    def finish(self) -> None:
        detector, features = self.detector, torch.cat(self.collected)
        detector.radius_.copy_(_radius((features - detector.centre_).square().sum(1), detector.nu))
        if len(features) > 1 and bool(_spread(features) < _COLLAPSED * detector.spread_):
            warnings.warn(
                f"DeepSVDD collapsed: its features vary less than {_COLLAPSED:g} times as much as before, so all images look the same. "
                "Train fewer epochs in phase 'svdd', or with a lower learning_rate or a higher weight_decay.",
                MedoodWarning,
                stacklevel=2,
            )


def _radius(distance: Tensor, nu: float) -> Tensor:
    """() from squared distances (B,): a share `nu` of the images lies outside."""
    return distance.sqrt().quantile(1 - nu)


def _spread(features: Tensor) -> Tensor:
    """() from (B, code): the variance over the images, summed over the features."""
    return features.var(0, correction=0).sum()


def _encoder(channels: int, widths: Sequence[int], grid: tuple[int, int], code: int) -> nn.Sequential:
    """(B, channels, H, W) to (B, code) by blocks of convolution and pooling, down to `grid`, and a linear layer."""
    layers: list[nn.Module] = []
    for a, b in pairwise((channels, *widths)):
        layers += [_xavier(nn.Conv2d(a, b, 5, padding=2, bias=False)), _norm(b), nn.LeakyReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * grid[0] * grid[1], code, bias=False))


def _decoder(code: int, grid: tuple[int, int], widths: Sequence[int], channels: int) -> nn.Sequential:
    """(B, code) to (B, channels, H, W) in 0..1; the code is normalised and laid out as 4 x 4 pixels."""
    layers: list[nn.Module] = [
        nn.BatchNorm1d(code, eps=1e-4, affine=False),
        nn.Unflatten(1, (code // 16, 4, 4)),
        nn.Upsample(grid),
        nn.LeakyReLU(),
    ]
    for a, b in pairwise((code // 16, *reversed(widths))):
        layers += [_xavier(nn.ConvTranspose2d(a, b, 5, padding=2, bias=False)), _norm(b), nn.LeakyReLU(), nn.Upsample(scale_factor=2)]
    return nn.Sequential(*layers, _xavier(nn.ConvTranspose2d(widths[0], channels, 5, padding=2, bias=False)), nn.Sigmoid())


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-4, affine=False)


def _xavier(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain("leaky_relu"))
    return layer
