"""The variational autoencoder."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.optim import Adam

from medood.core.demands import require_multiple, require_range
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt, Residual
from medood.features.interface import Extractor
from medood.nets.densities.gaussian import GaussianHead, divergence, draw
from medood.nets.error_maps import Residuals, squared_error
from medood.nets.strided import decoder, encoder

_DERIVED = {"grad_rec": "rec", "grad_kl": "kl", "grad_elbo": "elbo", "combi": "kl"}


class VAE(Detector):
    """Variational autoencoder: what is unlikely under a smooth latent space of normal images is anomalous.

    Kingma and Welling, ICLR 2014; the baseline "VAE" of CVAD (Guo et al., 2021), read as the main branch of its generator. Values 0..1,
    height and width multiples of 32. Trained on the negative evidence lower bound of a Gaussian decoder with a fixed variance,

        (sum of squared errors) / (2 sigma2) + beta KL    divided by the number of values of an image, C x H x W,

    with the latent variables drawn at random; scored with their means, so that a score is no matter of luck.

    latent         number of latent variables; 512 in CVAD
    width          channels of the first convolution
    sigma2         variance of the decoder; 0.5 makes the loss a mean squared error + KL / (C x H x W), as in CVAD's code. That is much
                   noise for values of 0..1: a smaller variance keeps more latent variables in use and reconstructs more sharply
    beta           weight of the divergence KL from the standard normal distribution
    score          "rec": the mean of the `error`. "kl": divergence in nats, without a map. "elbo": the loss, with the `error` as map.
                   "grad_rec", "grad_kl", "grad_elbo": the size of its derivative by each pixel, as a map and its mean. "combi": that of
                   "grad_kl" times the `error`, pixel by pixel (Zimmerer et al., MICCAI 2019)
    error          "mse", "l1", "ssim" (1 - SSIM) or "perceptual" (on the recipe's `features`); the loss and its derivatives are of the
                   squared error all the same
    all_errors     "mse", "l1", "ssim" and, with `features`, "perceptual" as parts, for comparisons: what the image score is by each
    learning_rate  of Adam
    weight_decay   of Adam; 1e-6 in CVAD's code
    epochs         100 to 350 in CVAD

    Parts: "rec", "kl" and "elbo", always.
    """

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        latent: PositiveInt = 16,
        width: PositiveInt = 16,
        sigma2: PositiveFloat = 0.5,
        beta: NonNegativeFloat = 1.0,
        score: Literal["rec", "elbo", "kl", "grad_elbo", "grad_kl", "grad_rec", "combi"] = "rec",
        error: Residual = "mse",
        all_errors: bool = False,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 0.0,
        epochs: PositiveInt = 100,
    ) -> None:
        super().__init__(spec)
        require_range(spec, 0.0, 1.0, "VAE")
        require_multiple(spec, 32, "VAE")
        self.residuals, self.error, self.all_errors = Residuals(spec, "VAE", error, all_errors, features), error, all_errors
        self.sigma2, self.beta, self.kind = sigma2, beta, score
        self.learning_rate, self.weight_decay, self.epochs = learning_rate, weight_decay, epochs
        widths = [width * k for k in (1, 2, 4, 8, 16)]
        shape = widths[-1], spec.height // 32, spec.width // 32
        values = shape[0] * shape[1] * shape[2]
        self.encoder = nn.Sequential(encoder(spec.channels, widths), nn.Flatten(), GaussianHead(partial(nn.Linear, values, latent)))
        self.decoder = nn.Sequential(nn.Linear(latent, values), nn.Unflatten(1, shape), decoder(widths, spec.channels))

    def phases(self) -> list[Phase]:
        return [_Reconstruction(self)]

    def rebuild(self, image: Tensor) -> tuple[Tensor, Normal]:
        """The reconstruction (B, C, H, W) and the posterior of the latent variables (B, latent): drawn in train mode, else the means."""
        posterior: Normal = self.encoder(image)
        return self.decoder(draw(posterior, random=self.training)), posterior

    def terms(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The reconstruction (B, C, H, W), and (B,) each: "rec" the mean squared error, "kl" in nats, "elbo" the loss."""
        reconstruction, posterior = self.rebuild(image)
        rec, kl = squared_error(image, reconstruction).mean((1, 2, 3)), divergence(posterior)
        return reconstruction, {"rec": rec, "kl": kl, "elbo": rec / (2 * self.sigma2) + self.beta * kl / image[0].numel()}

    def _score(self, image: Tensor) -> Scores:
        reconstruction, parts = self.terms(image)
        maps: dict[str, Tensor] = self.residuals(image, reconstruction)
        means = {name: heat.mean((1, 2, 3)) for name, heat in maps.items()}
        error, parts = maps[self.error], {**parts, **(means if self.all_errors else {}), "rec": means[self.error]}
        if self.kind in ("rec", "elbo", "kl"):
            return Scores(parts[self.kind], None if self.kind == "kl" else error, parts=parts)
        heat = self._sensitivity(image, _DERIVED[self.kind]) * (error if self.kind == "combi" else 1.0)
        return Scores(heat.mean((1, 2, 3)), heat, parts=parts)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        return {"x' (reconstruction)": self.rebuild(image)[0]}

    @torch.enable_grad()
    def _sensitivity(self, image: Tensor, term: str) -> Tensor:
        """(B, 1, H, W): absolute derivative of a term of each image, mean over the channels."""
        image = image.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.terms(image)[1][term].sum(), image)
        return gradient.abs().mean(1, keepdim=True)


class _Reconstruction(Phase):
    name = "reconstruction"

    def __init__(self, detector: VAE) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        self.optimizers = {"vae": Adam(detector.parameters(), detector.learning_rate, weight_decay=detector.weight_decay, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        means = {name: values.mean() for name, values in self.detector.terms(batch.image)[1].items()}
        update(means["elbo"], "vae")
        return {"loss": means["elbo"].detach(), "rec": means["rec"].detach(), "kl": means["kl"].detach()}

    def validate(self, batch: Batch) -> Tensor:
        return self.detector.terms(batch.image)[1]["elbo"]
