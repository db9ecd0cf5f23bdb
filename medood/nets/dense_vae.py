"""The dense variational autoencoder of the comparisons of brain MR: convolutions down to a small grid, one linear layer to the latent."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.distributions import Normal

from medood.core.detector import ImageSpec
from medood.nets.densities.gaussian import GaussianHead, draw
from medood.nets.strided import halve

STEP = 16
"""Height and width are multiples of this."""

_CODES = 16
_ACT = ("LEAKYRELU", {"negative_slope": 0.01, "inplace": True})


class DenseVAE(nn.Module):
    """Images (B, C, H, W) to their reconstructions and the posterior of their latent variables.

    The "dense VAE" of Baur et al., Medical Image Analysis 2021: four 5 x 5 convolutions of stride 2, 1 x 1 to 16 channels, linear layers to
    and from the latent variables, and the mirror of it; batch normalisation and leaky ReLU everywhere but at the end, which is linear.

    width   channels of the first convolution; 32 there, and 2, 4, 4 times as many in the next
    latent  number of latent variables; 128 there
    """

    def __init__(self, spec: ImageSpec, width: int, latent: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        shape = _CODES, spec.height // STEP, spec.width // STEP
        values = shape[0] * shape[1] * shape[2]
        down = [halve(a, b, kernel=5, act=_ACT) for a, b in pairwise((spec.channels, *widths))]
        up = [_double(a, b) for a, b in pairwise((4 * width, 4 * width, 2 * width, width, width))]
        head = GaussianHead(partial(nn.Linear, values, latent))
        self.encoder = nn.Sequential(*down, _mix(widths[-1], _CODES), nn.Flatten(), head)
        self.decoder = nn.Sequential(
            nn.Linear(latent, values), nn.Unflatten(1, shape), _mix(_CODES, 4 * width), *up, nn.Conv2d(width, spec.channels, 1)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Normal]:
        """In train mode the latent variables are drawn; in eval mode they are the means, so that nothing is a matter of luck."""
        posterior: Normal = self.encoder(image)
        return self.decoder(draw(posterior, random=self.training)), posterior


def _mix(channels_in: int, channels_out: int) -> Convolution:
    return Convolution(2, channels_in, channels_out, 1, 1, act=_ACT, norm="BATCH", bias=False)


def _double(channels_in: int, channels_out: int) -> Convolution:
    """Transposed 5 x 5 convolution: (B, channels_in, H, W) to (B, channels_out, 2 H, 2 W)."""
    return Convolution(
        2, channels_in, channels_out, 2, 5, act=_ACT, norm="BATCH", bias=False, is_transposed=True, padding=2, output_padding=1
    )
