"""The denoising autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.optim import Adam

from medood.core.demands import require_multiple
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError
from medood.core.types import NonNegativeFloat, NonNegativeInt, Percent, PositiveFloat, PositiveInt, Residual
from medood.features.interface import Extractor
from medood.nets.body import mean_inside, percentile_inside
from medood.nets.error_maps import Residuals, squared_error
from medood.nets.images.coarse_noise import coarse_noise
from medood.nets.u_net import STEP, UNet

_VALIDATION_SEED = 0


class DAE(Detector):
    """Denoising autoencoder: a U-Net that learned to take coarse noise out of normal images takes lesions out as well.

    Kascenas, Pugeault and O'Neil, "Denoising autoencoders for unsupervised anomaly detection in brain MRI", MIDL 2022. Skip connections
    keep the detail of normal anatomy; that a lesion does not pass is due to the noise being of a lesion's size. Takes any range; height
    and width are multiples of 8, at least 16. Noise is added inside the body alone, and the squared error counts there alone. The map is
    how far the image, without noise, is from what the network makes of it; 0 outside the body. For lesions known to be
    bright or dark, `pooling: {side: higher}` or `lower` takes the sign into account.

    The paper's: network (3 halvings, 64 channels at full size, weight standardisation, Swish, group normalisation), noise, loss, Adam with
    AMSGrad, learning rate 1e-4, weight decay 1e-5, 67,200 steps of 16 images of 128 x 128 pixels scaled to 0..1, a learning rate that
    follows a cosine, the absolute difference and its median over 5 x 5 pixels; it also erodes the body by 2 pixels before it scores.
    Ours: normalisation before the activation, half as many channels, fewer steps at a higher rate (let it fall
    with `training: {schedule: cosine}`), validation on held-out images with the same noise each time, and the image score.

    noise          deviation of the noise, as a share of the range
    cells          size of its blobs: so many fit across the image's shorter side
    error          of the map: "l1", the absolute difference, "mse", "ssim" (1 - SSIM) or "perceptual" (on the recipe's `features`)
    all_errors     "mse", "l1", "ssim" and, with `features`, "perceptual" as parts, for comparisons: what the image score is by each
    median         the map is its median over so many pixels each way, an odd number; 0: as it is
    percentile     the image score is this percentile of the map inside the body
    width          channels at full size
    learning_rate  of Adam
    weight_decay   of Adam
    epochs         of training

    Parts: "mean", the mean of the map inside the body.
    """

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor | None = None,
        *,
        noise: PositiveFloat = 0.2,
        cells: PositiveInt = 16,
        error: Residual = "l1",
        all_errors: bool = False,
        median: NonNegativeInt = 5,
        percentile: Percent = 99.0,
        width: PositiveInt = 32,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 1e-5,
        epochs: PositiveInt = 100,
    ) -> None:
        super().__init__(spec)
        require_multiple(spec, STEP, "DAE", least=2 * STEP)
        if median and median % 2 == 0:
            raise MedoodError(f"DAE: `median` is an odd number of pixels, or 0 for no filter; found {median}.")
        self.residuals, self.error, self.all_errors = Residuals(spec, "DAE", error, all_errors, features), error, all_errors
        self.noise, self.cells, self.median, self.percentile = noise, cells, median, percentile
        self.learning_rate, self.weight_decay, self.epochs = learning_rate, weight_decay, epochs
        self.network = UNet(spec.channels, spec.channels, width)

    def phases(self) -> list[Phase]:
        return [_Denoising(self)]

    def spoil(self, image: Tensor, random: torch.Generator | None = None) -> Tensor:
        """The image with noise inside the body."""
        noise = coarse_noise(image, self.cells, self.noise * (self.spec.high - self.spec.low), random)
        return torch.where(self.foreground(image), image + noise, image)

    def losses(self, image: Tensor, random: torch.Generator | None = None) -> Tensor:
        """(B,): mean over the body of the squared difference between the image and what is made of it with noise."""
        made = self.network(self.spoil(image, random))
        return mean_inside(squared_error(image, made), self.foreground(image))

    def _score(self, image: Tensor) -> Scores:
        inside = self.foreground(image)
        errors = self.residuals(image, self.network(image))
        maps = {error: self._calmed(heat, inside) for error, heat in errors.items()}
        scores = {error: percentile_inside(heat, inside, self.percentile) for error, heat in maps.items()}
        heat = maps[self.error]
        return Scores(scores[self.error], heat, parts={"mean": mean_inside(heat, inside), **(scores if self.all_errors else {})})

    def _calmed(self, heat: Tensor, inside: Tensor) -> Tensor:
        """Maps (B, 1, H, W) inside the body, with their median."""
        heat = torch.where(inside, heat, 0.0)
        if self.median <= 1:
            return heat
        around = pad(heat, (self.median // 2,) * 4, mode="replicate").unfold(2, self.median, 1).unfold(3, self.median, 1)
        return torch.where(inside, around.flatten(-2).median(-1).values, 0.0)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        return {"x' (without the noise)": torch.where(self.foreground(image), self.network(image), image)}


class _Denoising(Phase):
    name = "denoising"

    def __init__(self, detector: DAE) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = detector.network.parameters()
        adam = Adam(parameters, detector.learning_rate, weight_decay=detector.weight_decay, amsgrad=True, fused=True)
        self.optimizers = {"dae": adam}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.detector.losses(batch.image).mean()
        update(loss, "dae")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        return self.detector.losses(batch.image, torch.Generator().manual_seed(_VALIDATION_SEED))
