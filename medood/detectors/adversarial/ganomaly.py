"""GANomaly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.running.processes import agree, mean
from medood.core.types import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Residual
from medood.features.interface import Extractor
from medood.nets.error_maps import Residuals, absolute_error
from medood.nets.halvings import halvings
from medood.nets.images.signed import signed, unsigned
from medood.nets.normal_weights import normal_weights

Norm = Literal["batch", "instance"]
_DISCRIMINATOR_WON = 1e-5


class GANomaly(Detector):
    """Encodes an image, rebuilds it and encodes the copy: the codes of an anomaly and of its copy differ.

    Akcay et al., "GANomaly: semi-supervised anomaly detection via adversarial training", ACCV 2018; the baseline "GANomaly" of CVAD (Guo et
    al., IEEE TMI 2023). Takes any range of values, stretched to -1..1 inside; any size of 8 pixels or more that can be halved until the
    shorter side has 4 to 7 pixels.

    width          channels of the first convolution; they double with every halving of the image. 64 is the authors' network, 144 million
                   parameters in the generator at 256 pixels; 16 needs 11 million
    code           size of the two codes
    norm           "batch": one set of statistics learned in training. "instance": those of each image, in training and scoring alike,
                   which is what the authors' scores come from, as they leave batch norm in training mode and score one by one
    adversarial_weight, contextual_weight, encoding_weight
                   of the generator's three losses: squared difference of the discriminator's features, absolute difference of the images,
                   squared difference of the codes
    error          null: the score below. "mse", "l1", "ssim" (1 - SSIM) or "perceptual" (on the recipe's `features`): map and, by its mean,
                   image score are this error of the copy
    all_errors     "mse", "l1", "ssim" and, with `features`, "perceptual" as parts too, for comparisons
    learning_rate, betas   of both Adam optimizers
    epochs         15 in the authors' code

    Score: mean squared difference of the two codes. `map` is |image - copy|: the residual of the reconstruction, and not what the score
    is made of; its mean is the part "residual".
    """

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        width: PositiveInt = 16,
        code: PositiveInt = 100,
        norm: Literal["batch", "instance"] = "batch",
        adversarial_weight: NonNegativeFloat = 1.0,
        contextual_weight: NonNegativeFloat = 50.0,
        encoding_weight: NonNegativeFloat = 1.0,
        error: Residual | None = None,
        all_errors: bool = False,
        learning_rate: PositiveFloat = 2e-4,
        betas: tuple[Fraction, Fraction] = (0.5, 0.999),
        epochs: PositiveInt = 15,
    ) -> None:
        super().__init__(spec)
        self.residuals = Residuals(spec, "GANomaly", error, all_errors, features)
        times = halvings(spec, "GANomaly")
        widths = [width * 2**k for k in range(times)]
        grid = spec.height >> times, spec.width >> times
        self.encoder = nn.Sequential(_pyramid(spec.channels, widths, norm), nn.Conv2d(widths[-1], code, grid, bias=False))
        self.decoder = _decoder(code, widths, spec.channels, grid, norm)
        self.second_encoder = nn.Sequential(_pyramid(spec.channels, widths, norm), nn.Conv2d(widths[-1], code, grid, bias=False))
        self.discriminator = Discriminator(spec.channels, widths, grid, norm)
        normal_weights(self)
        self.adversarial_weight, self.contextual_weight, self.encoding_weight = adversarial_weight, contextual_weight, encoding_weight
        self.learning_rate, self.betas, self.epochs = learning_rate, betas, epochs

    def phases(self) -> list[Phase]:
        return [_Adversarial(self)]

    def generator(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The copy (B, C, H, W) of an image in -1..1, the code (B, code) of the image, and the code of the copy."""
        code = self.encoder(image)
        copy = self.decoder(code)
        return copy, code.flatten(1), self.second_encoder(copy).flatten(1)

    def _score(self, image: Tensor) -> Scores:
        copy, code, copied_code = self.generator(signed(image, self.spec))
        copy = unsigned(copy, self.spec)
        residual = absolute_error(image, copy)
        own = Scores((code - copied_code).square().mean(1), residual, parts={"residual": residual.mean((1, 2, 3))})
        return self.residuals.applied(own, image, copy)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        return {"x' (copy)": unsigned(self.generator(signed(image, self.spec))[0], self.spec)}


class Discriminator(nn.Module):
    """(B, C, H, W) to logits (B,) of being real, and to the features (B, widths[-1], h, w) that they are read from."""

    def __init__(self, channels: int, widths: Sequence[int], grid: tuple[int, int], norm: Norm) -> None:
        super().__init__()
        self.features = _pyramid(channels, widths, norm)
        self.last = nn.Conv2d(widths[-1], 1, grid, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(image)
        return self.last(features).flatten(), features


class _Adversarial(Phase):
    """The generator, then the discriminator, with every batch."""

    name = "adversarial"

    def __init__(self, detector: GANomaly) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        generator = [*detector.encoder.parameters(), *detector.decoder.parameters(), *detector.second_encoder.parameters()]
        self.optimizers = {
            name: Adam(parameters, detector.learning_rate, detector.betas, fused=True)
            for name, parameters in (("generator", generator), ("discriminator", detector.discriminator.parameters()))
        }

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        detector, image = self.detector, signed(batch.image, self.detector.spec)
        copy, code, copied_code = detector.generator(image)
        real, real_features = detector.discriminator(image)
        losses = {
            "adversarial": (detector.discriminator(copy)[1] - real_features.detach()).square().mean(),
            "contextual": (copy - image).abs().mean(),
            "encoding": (code - copied_code).square().mean(),
        }
        update(sum((getattr(detector, f"{name}_weight") * loss for name, loss in losses.items()), image.new_zeros(())), "generator")
        fake = detector.discriminator(copy.detach())[0]
        judge = (_judged(real, 1.0) + _judged(fake, 0.0)) / 2
        update(judge, "discriminator")
        if bool(judge < _DISCRIMINATOR_WON):  # it would have nothing left to teach the generator
            with torch.no_grad():
                normal_weights(detector.discriminator)
                agree(detector.discriminator)
        return {name: loss.detach() for name, loss in losses.items()} | {"discriminator": judge.detach()}

    def validate(self, batch: Batch) -> Tensor:
        """The generator's losses without the adversarial one, which is measured by a discriminator that changes."""
        detector, image = self.detector, signed(batch.image, self.detector.spec)
        copy, code, copied_code = detector.generator(image)
        contextual, encoding = (copy - image).abs().mean((1, 2, 3)), (code - copied_code).square().mean(1)
        return detector.contextual_weight * contextual + detector.encoding_weight * encoding


def _judged(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross entropy over the whole batch, as all processes have to come to the same verdict."""
    return mean(binary_cross_entropy_with_logits(logits, torch.full_like(logits, target), reduction="none"))


def _pyramid(channels: int, widths: Sequence[int], norm: Norm) -> nn.Sequential:
    """(B, channels, H, W) to (B, widths[-1], H / 2^n, W / 2^n) for n widths; no normalisation after the first convolution."""
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for a, b in pairwise(widths):
        layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), _norm(norm, b), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers)


def _decoder(code: int, widths: Sequence[int], channels: int, grid: tuple[int, int], norm: Norm) -> nn.Sequential:
    """The mirror: (B, code, 1, 1) to (B, channels, H, W) in -1..1."""
    back = widths[::-1]
    layers: list[nn.Module] = [nn.ConvTranspose2d(code, back[0], grid, bias=False), _norm(norm, back[0]), nn.ReLU(inplace=True)]
    for a, b in pairwise(back):
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), _norm(norm, b), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(back[-1], channels, 4, 2, 1, bias=False), nn.Tanh())


def _norm(norm: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels, affine=True)
