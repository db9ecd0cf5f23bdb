"""Adversarially learned one-class classification."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import RMSprop

from medood.core.demands import require_multiple
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt, Residual
from medood.features.interface import Extractor
from medood.nets.error_maps import Residuals, absolute_error, squared_error
from medood.nets.images.signed import signed, unsigned
from medood.nets.normal_weights import normal_weights


class ALOCC(Detector):
    """Refines noisy images until a discriminator takes them for real; anomalies are refined into what it does not know.

    Sabokrou et al., "Adversarially learned one-class classifier for novelty detection", CVPR 2018; the baseline "ALOCC" of Patch-GAN (Chen
    et al., AAAI 2025). Losses and score follow the paper, widths and updates the authors' code, which scores noisy images and keeps
    batch norm in training mode. Takes any range of values, stretched to -1..1 inside, and multiples of 16 pixels.

    refiner_width        channels of the refiner's first convolution; 2 and 4 times as many follow, and 1 and a half on the way back
    discriminator_width  channels of the discriminator's first convolution; 2, 4 and 8 times as many follow
    noise                deviation of the Gaussian noise in training, where the range is -1..1
    reconstruction_weight  lambda: of the mean squared error between the refined and the clean image; 0.2 in the code
    refiner_updates      for each update of the discriminator
    error                null: the score below. "mse", "l1", "ssim" (1 - SSIM) or "perceptual" (on the recipe's `features`): map and, by its
                         mean, image score are this error of the refined image
    all_errors           "mse", "l1", "ssim" and, with `features`, "perceptual" as parts too, for comparisons
    learning_rate        of both RMSprop optimizers
    epochs               40 in the code. Training too long "confuses" the refiner (section 3.4): hold images out, the epoch with their
                         smallest mean squared error counts, and set `training.patience`

    Score: -logit D(R(x)), the discriminator's verdict on the refined image. Parts: "unreal_refined" 1 - D(R(x)), "unreal_original"
    1 - D(x), and "mse". `map` is |x - R(x)|.
    """

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        refiner_width: PositiveInt = 32,
        discriminator_width: PositiveInt = 16,
        noise: NonNegativeFloat = 0.155,
        reconstruction_weight: NonNegativeFloat = 0.4,
        refiner_updates: PositiveInt = 2,
        error: Residual | None = None,
        all_errors: bool = False,
        learning_rate: PositiveFloat = 2e-3,
        epochs: PositiveInt = 40,
    ) -> None:
        super().__init__(spec)
        require_multiple(spec, 16, "ALOCC")
        self.residuals = Residuals(spec, "ALOCC", error, all_errors, features)
        self.refiner = _refiner(spec.channels, refiner_width)
        self.discriminator = _discriminator(spec, discriminator_width)
        normal_weights(self)
        self.noise, self.reconstruction_weight, self.refiner_updates = noise, reconstruction_weight, refiner_updates
        self.learning_rate, self.epochs = learning_rate, epochs

    def phases(self) -> list[Phase]:
        return [_Adversarial(self)]

    def _score(self, image: Tensor) -> Scores:
        seen = signed(image, self.spec)
        refined = self.refiner(seen)
        of_refined, of_original = -self.discriminator(refined).flatten(), -self.discriminator(seen).flatten()
        refined = unsigned(refined, self.spec)
        parts = {
            "unreal_refined": of_refined.sigmoid(),
            "unreal_original": of_original.sigmoid(),
            "mse": squared_error(image, refined).mean((1, 2, 3)),
        }
        return self.residuals.applied(Scores(of_refined, absolute_error(image, refined), parts=parts), image, refined)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        return {"x' (refined)": unsigned(self.refiner(signed(image, self.spec)), self.spec)}


class _Adversarial(Phase):
    """The discriminator once, then the refiner, with every batch."""

    name = "adversarial"

    def __init__(self, detector: ALOCC) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        self.optimizers = {
            name: RMSprop(network.parameters(), detector.learning_rate, alpha=0.9)  # TensorFlow's decay
            for name, network in (("discriminator", detector.discriminator), ("refiner", detector.refiner))
        }

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        detector, image = self.detector, signed(batch.image, self.detector.spec)
        noisy = image + detector.noise * torch.randn_like(image)
        refined = detector.refiner(noisy)
        judge = self._judged(image, 1.0) + self._judged(refined.detach(), 0.0)
        update(judge, "discriminator")
        for turn in range(detector.refiner_updates):
            refined = detector.refiner(noisy) if turn else refined
            reconstruction, adversarial = (refined - image).square().mean(), self._judged(refined, 1.0)
            update(detector.reconstruction_weight * reconstruction + adversarial, "refiner")
        return {"discriminator": judge.detach(), "adversarial": adversarial.detach(), "reconstruction": reconstruction.detach()}

    def validate(self, batch: Batch) -> Tensor:
        """Mean squared errors of images without noise."""
        image = signed(batch.image, self.detector.spec)
        return squared_error(image, self.detector.refiner(image)).mean((1, 2, 3))

    def _judged(self, image: Tensor, target: float) -> Tensor:
        """Mean binary cross entropy of the discriminator's logits."""
        logits = self.detector.discriminator(image)
        return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _refiner(channels: int, width: int) -> nn.Sequential:
    """(B, channels, H, W) in -1..1 to the same, by three convolutions of stride 2 and their mirror."""
    layers: list[nn.Module] = []
    for a, b in pairwise((channels, width, 2 * width, 4 * width)):
        layers += [nn.Conv2d(a, b, 5, 2, 2, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)]
    narrow = max(width // 2, 1)
    for a, b in pairwise((4 * width, width, narrow)):
        layers += [nn.ConvTranspose2d(a, b, 5, 2, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(narrow, channels, 5, 2, 2, 1), nn.Tanh())


def _discriminator(spec: ImageSpec, width: int) -> nn.Sequential:
    """(B, C, H, W) to logits (B, 1) of being real."""
    layers: list[nn.Module] = [nn.Conv2d(spec.channels, width, 5, 2, 2), nn.LeakyReLU(0.2, inplace=True)]
    for a, b in pairwise((width, 2 * width, 4 * width, 8 * width)):
        layers += [nn.Conv2d(a, b, 5, 2, 2, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * width * (spec.height // 16) * (spec.width // 16), 1))
