"""CVAD, a cascade of two variational autoencoders and a discriminator of its reconstructions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from medood.core.demands import require_multiple, require_range
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import TrainingError
from medood.core.running.processes import together
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt, Residual
from medood.features.interface import Extractor
from medood.nets.cascade import Cascade, Cascaded
from medood.nets.densities.gaussian import divergence
from medood.nets.error_maps import Residuals, squared_error
from medood.nets.strided import encoder


class CVAD(Detector):
    """A cascade of two VAEs reconstructs the image, a discriminator says how much it looks like a reconstruction; both make the score.

    Guo et al., "CVAD: A generic medical anomaly detector based on Cascade VAE", 2021. Values 0..1, height and width multiples of 32.

    Phase "generator" minimises L_G = mean squared error + kl_weight (KL of z1 + KL of z2) / (C x H x W) per image, as the released code
    does. Phase "discriminator" starts from its best epoch, leaves it as it is, and tells images (0) from their reconstructions (1). The
    score is half the sum of L_G, scaled, and of the discriminator's probability S_D that the image is a reconstruction.

    The paper scales L_G to 0..1 over the images that are being evaluated, which makes a score depend on the worst of them. Here
    (L_G - low) / (high - low) is fixed at the end of training: low and high are the quantiles 0.01 and 0.99 of L_G on the held-out normal
    images, or on the training images (phase "scale") when fewer than two are held out. It is not cut off at 1, so that of two far
    outliers the farther one still scores higher; far from the normal images L_G outweighs S_D. Numbers therefore differ from the paper's.

    latent                number of main latent variables z1
    width                 channels of the first convolutions
    branch_latent         "spatial": z2 has 8 variables at each place of a sixteenth of the side, 26.9 M weights for 256 x 256. "paper": z2
                          has 4 latent variables for the whole image, 295 M weights, or 430 M with a `branch_width` of 256
    branch_width          channels of the branch's convolution, which the paper leaves open
    combine               the reconstruction is the "mean" of the sigmoids of both branches (released code) or the sigmoid of the sum,
                          "logit_sum" (fig. 2)
    head                  of the discriminator: "code" has a hidden layer of 512, "paper" one linear layer. Batch norm of the hidden layer
                          averages with 0.1 and not the code's 0.9, with which the last batch of an epoch decides alone
    kl_weight             of both divergences in training; 1 in the paper and the code
    score_kl_weight       of both divergences in the score; 1 in the paper. 1/64 = 0.015625 is what the code does, which divides by its
                          batch size even where images are scored one by one
    score                 "combined", or one component alone: "generator" is L_G, "discriminator" S_D
    error                 null: the score as above, and the squared error as map. "mse", "l1", "ssim" (1 - SSIM) or "perceptual" (on the
                          recipe's `features`): map and, by its mean, image score are this error of the reconstruction
    all_errors            "mse", "l1", "ssim" and, with `features`, "perceptual" as parts too, for comparisons
    learning_rate         of both Adam optimizers; 1e-4 in an earlier version of the code
    weight_decay          of both
    generator_epochs      100 to 350 in the paper
    discriminator_epochs  10 to 20 in the code

    Parts: "generator", "discriminator", "combined", always.
    """

    low_: Tensor  # () of L_G
    high_: Tensor  # () of L_G
    held_out_: Tensor  # (n,) L_G of the held-out images, empty once training is complete

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        latent: PositiveInt = 512,
        width: PositiveInt = 16,
        branch_latent: Literal["spatial", "paper"] = "spatial",
        branch_width: PositiveInt = 128,
        combine: Literal["mean", "logit_sum"] = "mean",
        head: Literal["code", "paper"] = "code",
        kl_weight: NonNegativeFloat = 1.0,
        score_kl_weight: NonNegativeFloat = 1.0,
        score: Literal["combined", "generator", "discriminator"] = "combined",
        error: Residual | None = None,
        all_errors: bool = False,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 1e-6,
        generator_epochs: PositiveInt = 100,
        discriminator_epochs: PositiveInt = 20,
    ) -> None:
        super().__init__(spec)
        require_range(spec, 0.0, 1.0, "CVAD")
        require_multiple(spec, 32, "CVAD")
        self.residuals = Residuals(spec, "CVAD", error, all_errors, features)
        self.combine, self.kl_weight, self.score_kl_weight, self.kind = combine, kl_weight, score_kl_weight, score
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.generator_epochs, self.discriminator_epochs = generator_epochs, discriminator_epochs
        self.generator = Cascade(spec, width=width, latent=latent, branch_latent=branch_latent, branch_width=branch_width)
        self.discriminator = _discriminator(spec, width, head)
        self.register_buffer("low_", torch.zeros(()))
        self.register_buffer("high_", torch.ones(()))
        self.fitted_later("held_out_")

    def phases(self) -> list[Phase]:
        return [_Generator(self), _Discriminator(self), _Scale(self)]

    def combined(self, seen: Cascaded) -> Tensor:
        """(B, C, H, W): the reconstruction x' from both branches."""
        if self.combine == "mean":
            return (seen.coarse.sigmoid() + seen.detail.sigmoid()) / 2
        return (seen.coarse + seen.detail).sigmoid()

    def generate(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The reconstruction (B, C, H, W), the squared error (B, 1, H, W), and (B,) KL / (C x H x W), the sum of both divergences."""
        seen = self.generator(image)
        reconstruction = self.combined(seen)
        divergences = divergence(seen.main) + divergence(seen.branch)
        return reconstruction, squared_error(image, reconstruction), divergences / image[0].numel()

    def generator_score(self, error: Tensor, kl: Tensor) -> Tensor:
        """(B,): L_G as it is scored."""
        return error.mean((1, 2, 3)) + self.score_kl_weight * kl

    def _score(self, image: Tensor) -> Scores:
        reconstruction, error, kl = self.generate(image)
        generator = self.generator_score(error, kl)
        discriminator = self.discriminator(image)[:, 0].sigmoid()
        scaled = (generator - self.low_) / (self.high_ - self.low_)
        parts = {"generator": generator, "discriminator": discriminator, "combined": (scaled + discriminator) / 2}
        return self.residuals.applied(Scores(parts[self.kind], error, parts=parts), image, reconstruction)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        """The columns of the paper's figure 4."""
        seen = self.generator(image)
        return {"x2' (branch)": seen.detail.sigmoid(), "x1' (main VAE)": seen.coarse.sigmoid(), "x' (both)": self.combined(seen)}


class _Generator(Phase):
    name = "generator"

    def __init__(self, detector: CVAD) -> None:
        self.detector = detector
        self.epochs = detector.generator_epochs
        parameters = detector.generator.parameters()
        self.optimizers = {"generator": Adam(parameters, detector.learning_rate, weight_decay=detector.weight_decay, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        _, error, kl = self.detector.generate(batch.image)
        loss = error.mean() + self.detector.kl_weight * kl.mean()
        update(loss, "generator")
        return {"loss": loss.detach(), "rec": error.mean().detach(), "kl": kl.mean().detach() * batch.image[0].numel()}

    def validate(self, batch: Batch) -> Tensor:
        _, error, kl = self.detector.generate(batch.image)
        return error.mean((1, 2, 3)) + self.detector.kl_weight * kl


class _Discriminator(Phase):
    """Validation also collects L_G of the held-out images: it sees them whole, and the generator no longer changes."""

    name = "discriminator"

    def __init__(self, detector: CVAD) -> None:
        self.detector = detector
        self.epochs = detector.discriminator_epochs
        parameters = detector.discriminator.parameters()
        self.optimizers = {"discriminator": Adam(parameters, detector.learning_rate, weight_decay=detector.weight_decay, fused=True)}

    def begin(self) -> None:
        self.detector.generator.eval()

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.detector.held_out_ = batch.image.new_empty(0)
        with torch.no_grad():
            reconstruction, _, _ = self.detector.generate(batch.image)
        loss = self._losses(batch.image, reconstruction).mean()
        update(loss, "discriminator")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        reconstruction, error, kl = self.detector.generate(batch.image)
        self.detector.held_out_ = torch.cat([self.detector.held_out_, together(self.detector.generator_score(error, kl))])
        return self._losses(batch.image, reconstruction)

    def _losses(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """(B,): binary cross entropy, mean of an image's and its reconstruction's.

        Both go through the discriminator in one batch: batch norm would otherwise learn to normalise each kind by itself, and its running
        averages, which scoring uses, would fit neither.
        """
        logits = self.detector.discriminator(torch.cat([image, reconstruction]))[:, 0].view(2, -1)
        targets = torch.stack([torch.zeros_like(logits[0]), torch.ones_like(logits[1])])
        return binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(0)


class _Scale(Phase):
    """The quantiles of L_G between which it counts as 0..1."""

    name = "scale"

    def __init__(self, detector: CVAD) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.losses: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        if len(self.detector.held_out_) < 2:
            _, error, kl = self.detector.generate(batch.image)
            self.losses.append(together(self.detector.generator_score(error, kl)))
        return {}

    def finish(self) -> None:
        detector = self.detector
        losses = torch.cat(self.losses) if self.losses else detector.held_out_
        ends = torch.quantile(losses, losses.new_tensor([0.01, 0.99]))
        if not bool(ends[1] > ends[0]):
            raise TrainingError("CVAD's generator finds all normal images equally hard, so its scores have no scale: use different images.")
        detector.low_, detector.high_ = ends[0].clone(), ends[1].clone()
        detector.held_out_ = losses.new_empty(0)


def _discriminator(spec: ImageSpec, width: int, head: str) -> nn.Sequential:
    """(B, C, H, W) to logits (B, 1): positive for reconstructions."""
    widths = [width * k for k in (1, 2, 4, 8, 16)]
    features = widths[-1] * (spec.height // 32) * (spec.width // 32)
    hidden = nn.Linear(features, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU(inplace=True)
    layers = (*hidden, nn.Linear(512, 1)) if head == "code" else (nn.Linear(features, 1),)
    return nn.Sequential(encoder(spec.channels, widths), nn.Flatten(), *layers)
