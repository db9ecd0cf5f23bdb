"""f-AnoGAN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, RMSprop

from medood.core.demands import require_square
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt, Residual
from medood.detectors.adversarial.f_anogan_networks import feature_network, generator, glorot
from medood.features.interface import Extractor
from medood.nets.dcgan import over_the_image
from medood.nets.error_maps import Residuals, absolute_error, squared_error
from medood.nets.images.signed import signed, unsigned

_WIDTHS = {64: (8, 8, 4, 2, 1), 128: (8, 8, 4, 2, 1, 1), 256: (8, 8, 8, 4, 2, 1, 0.5)}
"""Channels of the generator from 4 x 4 pixels up to the side of the image, in units of `width`."""


class FAnoGAN(Detector):
    """A GAN learns to draw normal images, then an encoder to find the drawing that comes closest to an image; the rest is anomalous.

    Schlegl et al., "f-AnoGAN: fast unsupervised anomaly detection with generative adversarial networks", Medical Image Analysis 2019; the
    baseline "f-AnoGAN" of CVAD (Guo et al., IEEE TMI 2023). The residual networks of the authors' code, made for 64 x 64 pixels and
    deepened here for 128 and 256, which takes five times the arithmetic of 64. Takes any range of values, stretched to -1..1 inside.

    latent         size of the code, drawn from a normal distribution
    width          channels of the generator at full resolution (half as many at 256 pixels), eight times as many at 4 x 4 pixels
    critic_steps   updates of the critic, each with a new batch, before one of the generator
    penalty        weight of the critic's gradient penalty (Gulrajani et al., NeurIPS 2017)
    kappa          weight of the features in the encoder's loss and in the score
    error          null: the score below. "mse", "l1", "ssim" (1 - SSIM) or "perceptual" (on the recipe's `features`): map and, by its mean,
                   image score are this error of the drawing
    all_errors     "mse", "l1", "ssim" and, with `features`, "perceptual" as parts too, for comparisons
    learning_rate, encoder_learning_rate
                   of Adam for critic and generator, and of RMSprop for the encoder
    gan_epochs, encoder_epochs
                   of the phases "gan" and "encoder". The authors pass seven times over a million patches, then train the encoder in
                   50 000 steps of 64. The phase "gan" has no loss that says which epoch is best: its last one counts

    Score: mean squared error between image and drawing + kappa x mean squared error between the critic's features of both, in units of
    -1..1; the two are the parts "pixels" and "features". Part "code": mean squared difference of the codes of image and drawing. `map` is
    |image - drawing|.
    """

    can_round = True
    critic_steps_: Tensor  # () int64, so many updates of the critic were made

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        latent: PositiveInt = 128,
        width: PositiveInt = 64,
        critic_steps: PositiveInt = 5,
        penalty: NonNegativeFloat = 10.0,
        kappa: NonNegativeFloat = 1.0,
        error: Residual | None = None,
        all_errors: bool = False,
        learning_rate: PositiveFloat = 1e-4,
        encoder_learning_rate: PositiveFloat = 5e-5,
        gan_epochs: PositiveInt = 200,
        encoder_epochs: PositiveInt = 100,
    ) -> None:
        super().__init__(spec)
        self.residuals = Residuals(spec, "FAnoGAN", error, all_errors, features)
        require_square(spec, tuple(_WIDTHS), "FAnoGAN")
        coarse_to_fine = [max(int(width * factor), 1) for factor in _WIDTHS[spec.height]]
        self.generator = generator(latent, coarse_to_fine, spec.channels)
        self.critic = Critic(spec.channels, coarse_to_fine[::-1])
        self.encoder = nn.Sequential(
            feature_network(spec.channels, coarse_to_fine[::-1], nn.BatchNorm2d),
            glorot(nn.Linear(coarse_to_fine[0] * 16, latent)),
            nn.Tanh(),  # codes near 0, where the generator has practised most
        )
        self.latent, self.critic_steps, self.penalty, self.kappa = latent, critic_steps, penalty, kappa
        self.learning_rate, self.encoder_learning_rate = learning_rate, encoder_learning_rate
        self.gan_epochs, self.encoder_epochs = gan_epochs, encoder_epochs
        self.register_buffer("critic_steps_", torch.zeros((), dtype=torch.int64))

    def phases(self) -> list[Phase]:
        return [_Gan(self), _Encoder(self)]

    def draw(self, count: int) -> Tensor:
        """(count, C, H, W) in -1..1 from random codes."""
        return self.generator(torch.randn(count, self.latent, device=self.fitted_.device))

    def errors(self, image: Tensor, drawing: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) twice: mean squared errors of pixels, and of the critic's features."""
        with torch.no_grad():
            wanted = self.critic.features(image).to(image)
        return squared_error(image, drawing).mean((1, 2, 3)), (self.critic.features(drawing).to(image) - wanted).square().mean(1)

    def _score(self, image: Tensor) -> Scores:
        seen = signed(image, self.spec)
        with self.arithmetic():
            code = self.encoder(seen).to(seen)
            drawing = self.generator(code).to(seen)
            pixels, of_features = self.errors(seen, drawing)
            apart = self.encoder(drawing).to(seen) - code
        parts = {"pixels": pixels, "features": of_features, "code": apart.square().mean(1)}
        drawing = unsigned(drawing, self.spec)
        own = Scores(pixels + self.kappa * of_features, absolute_error(image, drawing), parts=parts)
        return self.residuals.applied(own, image, drawing)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        with self.arithmetic():
            drawing = self.generator(self.encoder(signed(image, self.spec))).to(image)
        return {"x' (drawing)": unsigned(drawing, self.spec)}


class Critic(nn.Module):
    """(B, C, H, W) to (B,), higher for real images. `features` gives the (B, 16 * widths[-1]) that it judges by."""

    def __init__(self, channels: int, widths: list[int]) -> None:
        super().__init__()
        self.features = feature_network(channels, widths, over_the_image)
        self.last = glorot(nn.Linear(widths[-1] * 16, 1))
        block: Any = self.features[-2]
        for layer in (block.way[5], block.shortcut[1], self.last):
            layer.bias.requires_grad_(False)  # added to the value of every image alike, it cancels out of every loss

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.features(image)).flatten()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """(): mean of (|d critic / d image| - 1)^2 at images that are `share` (B, 1, 1, 1) of the way from real to fake."""
    between = (real + share * (fake - real)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.float().flatten(1).norm(dim=1) - 1).square().mean()


class _Gan(Phase):
    """Wasserstein GAN with gradient penalty: the critic with every batch, the generator after every so many of them."""

    name = "gan"

    def __init__(self, detector: FAnoGAN) -> None:
        self.detector = detector
        self.epochs = detector.gan_epochs
        self.optimizers = {
            name: Adam(network.parameters(), detector.learning_rate, (0.0, 0.9), fused=True)
            for name, network in (("critic", detector.critic), ("generator", detector.generator))
        }

    def begin(self) -> None:
        self.detector.critic_steps_.zero_()

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        detector, real = self.detector, signed(batch.image, self.detector.spec)
        with torch.no_grad():
            fake = detector.draw(len(real))
        distance = detector.critic(real).mean() - detector.critic(fake).mean()
        penalty = gradient_penalty(detector.critic, real, fake, torch.rand(len(real), 1, 1, 1, device=real.device))
        update(detector.penalty * penalty - distance, "critic")
        losses = {"distance": distance.detach(), "penalty": penalty.detach()}
        detector.critic_steps_ += 1
        if int(detector.critic_steps_) % detector.critic_steps == 0:
            loss = -detector.critic(detector.draw(len(real))).mean()
            update(loss, "generator")
            losses["generator"] = loss.detach()
        return losses


class _Encoder(Phase):
    """The encoder alone, through a generator and a critic that stay as they are ("izi_f" in the paper)."""

    name = "encoder"

    def __init__(self, detector: FAnoGAN) -> None:
        self.detector = detector
        self.epochs = detector.encoder_epochs
        parameters = detector.encoder.parameters()
        self.optimizers = {"encoder": RMSprop(parameters, detector.encoder_learning_rate, alpha=0.9)}  # TensorFlow's decay

    def begin(self) -> None:
        self.detector.generator.eval()
        self.detector.critic.eval()

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.validate(batch).mean()
        update(loss, "encoder")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        detector, image = self.detector, signed(batch.image, self.detector.spec)
        pixels, of_features = detector.errors(image, detector.generator(detector.encoder(image)))
        return pixels + detector.kappa * of_features
