"""Deep structured energy-based model."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.types import PositiveFloat, PositiveInt
from medood.nets.dcgan import coder, over_the_image
from medood.nets.error_maps import squared_error
from medood.nets.images.signed import signed, unsigned

_VALIDATION_SEED = 0


class DSEBM(Detector):
    """An energy that is low on normal images, learned by taking noise away: the step down its slope leads back to the clean image.

    Zhai et al., ICML 2016; the baseline "DSEBM" of Golan and El-Yaniv (NeurIPS 2018), with their network. E(x) = |x - b|^2 / 2 less the sum
    of the units h(x), for an image b that is learned. Takes any range of values, stretched to -1..1 inside, and any size of 8 pixels or
    more that can be halved until the shorter side has 4 to 7 pixels.

    score          by the "energy" or by the "reconstruction", the mean squared step |dE/dx|^2
    units          "softplus", as by Zhai, or "relu", as by Golan and El-Yaniv: then E is made of planes, and the last shifts of the
                   network are never learned
    norm           "batch", or "image": over channels and pixels of each image by itself, which leaves dE/dx free of the other images of
                   a batch
    width          channels of the first convolution; they double up to 8 width
    code           number of units
    noise          deviation of the Gaussian noise in training, where the range is -1..1
    learning_rate  of Adam
    epochs         200 in Golan and El-Yaniv

    Parts: "energy" per pixel and channel, "reconstruction". `map` is |dE/dx|, mean over the channels, where the range is -1..1.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        score: Literal["energy", "reconstruction"] = "energy",
        units: Literal["softplus", "relu"] = "softplus",
        norm: Literal["batch", "image"] = "batch",
        width: PositiveInt = 64,
        code: PositiveInt = 256,
        noise: PositiveFloat = 0.5,
        learning_rate: PositiveFloat = 1e-3,
        epochs: PositiveInt = 200,
    ) -> None:
        super().__init__(spec)
        self.coder = coder(spec, "DSEBM", width, code, norm=nn.BatchNorm2d if norm == "batch" else over_the_image)
        self.centre = nn.Parameter(torch.zeros(spec.shape))
        self.by, self.units, self.noise = score, units, noise
        self.learning_rate, self.epochs = learning_rate, epochs
        if units == "relu":
            _still(self.coder)

    def phases(self) -> list[Phase]:
        return [_Denoising(self)]

    def energy(self, image: Tensor) -> Tensor:
        """(B,) of images in -1..1."""
        units = self.coder(image)
        return (image - self.centre).square().sum((1, 2, 3)) / 2 - (softplus(units) if self.units == "softplus" else units.relu()).sum(1)

    @torch.enable_grad()
    def slope(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """dE/dx (B, C, H, W) at images in -1..1, and E (B,); differentiable by the weights while the network learns."""
        image = image.detach().requires_grad_()
        energy = self.energy(image)
        (slope,) = torch.autograd.grad(energy.sum(), image, create_graph=self.training)
        return slope, energy

    def losses(self, image: Tensor, random: torch.Generator | None = None) -> Tensor:
        """(B,) mean squared errors of what one step makes of images with noise."""
        noise = torch.randn(image.shape, generator=random, device=random.device if random else image.device).to(image)
        noisy = image + self.noise * noise
        slope, _ = self.slope(noisy)
        return squared_error(noisy - slope, image).mean((1, 2, 3))

    def _score(self, image: Tensor) -> Scores:
        slope, energy = self.slope(signed(image, self.spec))
        slope = slope.detach()
        parts = {"energy": energy.detach() / image[0].numel(), "reconstruction": slope.square().mean((1, 2, 3))}
        return Scores(parts[self.by], slope.abs().mean(1, keepdim=True), parts=parts)

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        seen = signed(image, self.spec)
        return {"x' (one step down)": unsigned(seen - self.slope(seen)[0].detach(), self.spec)}


def _still(coder: nn.Sequential) -> None:
    """No gradients for shifts with nothing but ReLU behind them: they move the energy's planes and never their slope, which training
    follows."""
    shifts = [parameter for name, parameter in coder.named_parameters() if name.endswith("bias")]
    for shift in shifts[-2:]:  # those of the last norm and of the linear layer
        shift.requires_grad_(False)


class _Denoising(Phase):
    """Denoising score matching (Vincent, Neural Computation 2011)."""

    name = "denoising"

    def __init__(self, detector: DSEBM) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = [parameter for parameter in detector.parameters() if parameter.requires_grad]
        self.optimizers = {"dsebm": Adam(parameters, detector.learning_rate, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.detector.losses(signed(batch.image, self.detector.spec)).mean()
        update(loss, "dsebm")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        random = torch.Generator().manual_seed(_VALIDATION_SEED)
        return self.detector.losses(signed(batch.image, self.detector.spec), random).detach()
