"""The plain autoencoder."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam

from medood.core.demands import require_multiple, require_range
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt, Residual
from medood.features.interface import Extractor
from medood.nets.error_maps import Residuals, squared_error
from medood.nets.strided import RELU, decoder, encoder


class Autoencoder(Detector):
    """Convolutional autoencoder: what a narrow bottleneck learned from normal images cannot rebuild is anomalous.

    The baseline "AE" of CVAD (Guo et al., 2021), read as the main branch of its generator without the sampling, and of MedIAnomaly (Cai et
    al., Medical Image Analysis 2025). No skip connections: they would let anomalies pass. Takes images of any size that the strides
    divide: multiples of 32 ("cvad", values 0..1) or of 16 ("medianomaly", values -1..1).

    latent         size of the bottleneck; it matters more than anything else. 16 is best or near it on four of MedIAnomaly's sets; the
                   512 of CVAD comes close to copying its input
    architecture   "cvad": five strided convolutions width..16 width, one linear layer each way, sigmoid at the end; "medianomaly": four,
                   up to 4 width, hidden layers of 64 width around the bottleneck, no activation at the end
    width          channels of the first convolution
    loss           trained on: mean squared error, mean absolute error, or 1 - SSIM
    error          scored by, as a map and its mean: "mse", "l1", "ssim" (1 - SSIM, which takes longer than the network), "perceptual" (on
                   the recipe's `features`), or "gradient", the size of the derivative of the mean squared error by each pixel (Zimmerer et
                   al., MICCAI 2019); the parts "mse" and "l1" are always there
    all_errors     "ssim" and, with `features`, "perceptual" as parts too, for comparisons
    learning_rate  of Adam
    weight_decay   of Adam; 1e-6 in CVAD's code
    epochs         100 to 350 in CVAD, 250 in MedIAnomaly
    """

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        latent: PositiveInt = 16,
        architecture: Literal["cvad", "medianomaly"] = "cvad",
        width: PositiveInt = 16,
        loss: Literal["mse", "l1", "ssim"] = "mse",
        error: Residual | Literal["gradient"] = "mse",
        all_errors: bool = False,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 0.0,
        epochs: PositiveInt = 100,
    ) -> None:
        super().__init__(spec)
        cvad = architecture == "cvad"
        who = f"Autoencoder ({architecture})"
        require_range(spec, 0.0 if cvad else -1.0, 1.0, who)
        require_multiple(spec, 32 if cvad else 16, who)
        self.residuals = Residuals(spec, who, None if error == "gradient" else error, all_errors, features)
        self.loss, self.error, self.epochs = loss, error, epochs
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.network = _cvad(spec, width, latent) if cvad else _medianomaly(spec, width, latent)

    def phases(self) -> list[Phase]:
        return [_Reconstruction(self)]

    def _score(self, image: Tensor) -> Scores:
        reconstruction = self.network(image)
        maps = {error: self.residuals.map(error, image, reconstruction) for error in ("mse", "l1")}
        heat = self._sensitivity(image) if self.error == "gradient" else maps["mse"]
        own = Scores(heat.mean((1, 2, 3)), heat, parts={error: values.mean((1, 2, 3)) for error, values in maps.items()})
        return self.residuals.applied(own, image, reconstruction)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        return {"x' (reconstruction)": self.network(image)}

    @torch.enable_grad()
    def _sensitivity(self, image: Tensor) -> Tensor:
        """(B, 1, H, W): absolute derivative of each image's mean squared error, mean over the channels."""
        image = image.detach().clone().requires_grad_()
        losses = squared_error(image, self.network(image)).mean((1, 2, 3))
        (gradient,) = torch.autograd.grad(losses.sum(), image)
        return gradient.abs().mean(1, keepdim=True)


class _Reconstruction(Phase):
    name = "reconstruction"

    def __init__(self, detector: Autoencoder) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = detector.network.parameters()
        self.optimizers = {"autoencoder": Adam(parameters, detector.learning_rate, weight_decay=detector.weight_decay, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.validate(batch).mean()
        update(loss, "autoencoder")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        return self.detector.residuals.map(self.detector.loss, batch.image, self.detector.network(batch.image)).mean((1, 2, 3))


def _cvad(spec: ImageSpec, width: int, latent: int) -> nn.Sequential:
    """The main branch of CVAD's generator with a linear bottleneck."""
    widths = [width * k for k in (1, 2, 4, 8, 16)]
    shape = widths[-1], spec.height // 32, spec.width // 32
    features = shape[0] * shape[1] * shape[2]
    return nn.Sequential(
        encoder(spec.channels, widths),
        nn.Flatten(),
        nn.Linear(features, latent),
        nn.Linear(latent, features),
        nn.Unflatten(1, shape),
        decoder(widths, spec.channels),
    )


def _medianomaly(spec: ImageSpec, width: int, latent: int) -> nn.Sequential:
    """The autoencoder of MedIAnomaly."""
    widths = [width * k for k in (1, 2, 4, 4)]
    shape = widths[-1], spec.height // 16, spec.width // 16
    features, hidden = shape[0] * shape[1] * shape[2], 64 * width
    return nn.Sequential(
        encoder(spec.channels, widths, act=RELU),
        nn.Flatten(),
        *_hidden(features, hidden),
        nn.Linear(hidden, latent),
        *_hidden(latent, hidden),
        nn.Linear(hidden, features),
        nn.Unflatten(1, shape),
        decoder(widths, spec.channels, act=RELU, last=None),
    )


def _hidden(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)
