"""An interpretation of pchVAE, a conditional hierarchical variational autoencoder."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam

from medood.core.demands import require_multiple, require_range
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt, Residual
from medood.features.interface import Extractor
from medood.nets.cascade import Cascade, spatial_branch
from medood.nets.densities.gaussian import divergence
from medood.nets.error_maps import Residuals, squared_error


class PchVAE(Detector):
    """Interpretation of pchVAE: one latent level explains the image coarsely, a second, conditional one only the details that are left.

    After Zimmerer, Petersen and Maier-Hein, "High- and low-level image component decomposition using VAEs for improved reconstruction and
    anomaly detection", arXiv 1911.12161, whose code is not public, with the layers of the generator that CVAD (Guo et al., 2021) derived
    from it. Values 0..1, height and width multiples of 32.

    The coarse level is a VAE of `latent` variables z1 with prior N(0, 1). The detail level has 8 variables z2 at each place of a sixteenth
    of the side; their posterior sees the image's features and z1, their prior is learned and sees z1 alone. The image is the sigmoid of
    the sum of both decoders. Minimised is, divided by the number of values of an image, C x H x W,

        SSE(image) / (2 sigma2) + coarse_weight SSE(coarse image) / (2 sigma2) + beta (KL of z1 + KL of z2)

    in which SSE is a sum of squared errors; the second term makes the coarse level explain the image alone, as far as it can. Latent
    variables are drawn in training and are their means in scoring.

    latent         number of coarse latent variables
    width          channels of the first convolution
    branch_width   channels of the convolutions before z2
    sigma2         variance of the decoder
    coarse_weight  see above
    beta           weight of both divergences
    score          "elbo": SSE(image) / (2 sigma2) + beta KL, divided by C x H x W, and "rec": mean squared error; their map is the squared
                   error. "coarse": mean squared error of the coarse image, as map and score
    error          null: as `score` says. "mse", "l1", "ssim" (1 - SSIM) or "perceptual" (on the recipe's `features`): map and, by its mean,
                   image score are this error of the image, or of the coarse one if that is the `score`
    all_errors     "mse", "l1", "ssim" and, with `features`, "perceptual" as parts, for comparisons: what the image score is by each
    learning_rate  of Adam; this and what follows as for CVAD's generator
    weight_decay   of Adam
    epochs         100 to 350 in CVAD

    Parts: "elbo", "rec", "coarse", and in nats "kl_coarse" and "kl_detail".
    """

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        latent: PositiveInt = 512,
        width: PositiveInt = 16,
        branch_width: PositiveInt = 128,
        sigma2: PositiveFloat = 0.5,
        coarse_weight: NonNegativeFloat = 1.0,
        beta: NonNegativeFloat = 1.0,
        score: Literal["elbo", "rec", "coarse"] = "elbo",
        error: Residual | None = None,
        all_errors: bool = False,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 1e-6,
        epochs: PositiveInt = 100,
    ) -> None:
        super().__init__(spec)
        require_range(spec, 0.0, 1.0, "PchVAE")
        require_multiple(spec, 32, "PchVAE")
        self.residuals = Residuals(spec, "PchVAE", error, all_errors, features)
        self.sigma2, self.coarse_weight, self.beta, self.kind = sigma2, coarse_weight, beta, score
        self.learning_rate, self.weight_decay, self.epochs = learning_rate, weight_decay, epochs
        self.cascade = Cascade(spec, width=width, latent=latent, branch_latent="spatial", branch_width=branch_width)
        self.prior = spatial_branch(4 * width, branch_width)

    def phases(self) -> list[Phase]:
        return [_Reconstruction(self)]

    def terms(self, image: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Reconstructions (B, C, H, W), "both" levels and the "coarse" one, and the parts, (B,) each."""
        seen = self.cascade(image)
        made = {"both": torch.sigmoid(seen.coarse + seen.detail), "coarse": torch.sigmoid(seen.coarse)}
        rec, coarse = (squared_error(image, each).mean((1, 2, 3)) for each in made.values())
        kl_coarse, kl_detail = divergence(seen.main), divergence(seen.branch, self.prior(seen.context))
        elbo = rec / (2 * self.sigma2) + self.beta * (kl_coarse + kl_detail) / image[0].numel()
        return made, {"elbo": elbo, "rec": rec, "coarse": coarse, "kl_coarse": kl_coarse, "kl_detail": kl_detail}

    def loss(self, parts: dict[str, Tensor]) -> Tensor:
        """(B,): what training minimises."""
        return parts["elbo"] + self.coarse_weight * parts["coarse"] / (2 * self.sigma2)

    def _score(self, image: Tensor) -> Scores:
        made, parts = self.terms(image)
        reconstruction = made["coarse" if self.kind == "coarse" else "both"]
        own = Scores(parts[self.kind], squared_error(image, reconstruction), parts=parts)
        return self.residuals.applied(own, image, reconstruction)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        """The details alone are what the second level adds to a middle grey."""
        seen = self.cascade(image)
        both = torch.sigmoid(seen.coarse + seen.detail)
        return {"x2' (details)": torch.sigmoid(seen.detail), "x1' (coarse)": torch.sigmoid(seen.coarse), "x' (both)": both}


class _Reconstruction(Phase):
    name = "reconstruction"

    def __init__(self, detector: PchVAE) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        self.optimizers = {"pch_vae": Adam(detector.parameters(), detector.learning_rate, weight_decay=detector.weight_decay, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        _, parts = self.detector.terms(batch.image)
        loss = self.detector.loss(parts).mean()
        update(loss, "pch_vae")
        return {"loss": loss.detach()} | {name: values.mean().detach() for name, values in parts.items() if name != "elbo"}

    def validate(self, batch: Batch) -> Tensor:
        return self.detector.loss(self.detector.terms(batch.image)[1])
