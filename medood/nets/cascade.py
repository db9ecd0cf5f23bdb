"""A variational autoencoder with a second one on its inner features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from medood.core.detector import ImageSpec
from medood.nets.densities.gaussian import GaussianHead, draw
from medood.nets.strided import decoder, double, encoder, halve

_MAPS = 8  # latent variables at each place of a "spatial" branch


@dataclass(frozen=True)
class Cascaded:
    """What a cascade makes of B images.

    main, branch    posteriors of the main latent variables z1 (B, latent) and of the branch's z2
    context         (B, 4 width, H / 8, W / 8): features of the main decoder, which depend on z1 alone
    coarse, detail  (B, C, H, W): what the two decoders end with, before any sigmoid
    """

    main: Normal
    branch: Normal
    context: Tensor
    coarse: Tensor
    detail: Tensor


class Cascade(nn.Module):
    """The generator of CVAD (Guo et al., 2021, fig. 2); height and width are multiples of 32.

    Main: five strided convolutions (the first three are E11), `latent` variables, five transposed convolutions (the first two are D11).
    Branch: one strided convolution (E2) on what E11 and D11 give at an eighth of the side, then

    "spatial"  8 variables at each place of a sixteenth of the side (2048 for 256 x 256), by convolutions of 1 x 1
    "paper"    4 latent variables for the whole image, by linear layers on all that E2 gives: ten times as many weights

    and a decoder with the layers of the main one from an eighth of the side upwards, and its own weights. Latent variables are drawn in
    train mode and are their means in eval mode.
    """

    def __init__(self, spec: ImageSpec, *, width: int, latent: int, branch_latent: Literal["spatial", "paper"], branch_width: int) -> None:
        super().__init__()
        widths = [width * k for k in (1, 2, 4, 8, 16)]
        inner = widths[2], spec.height // 8, spec.width // 8
        deepest = widths[4], spec.height // 32, spec.width // 32
        features = deepest[0] * deepest[1] * deepest[2]
        self.shallow = encoder(spec.channels, widths[:3])
        self.main = nn.Sequential(encoder(widths[2], widths[3:]), nn.Flatten(), GaussianHead(partial(nn.Linear, features, latent)))
        back = double(widths[4], widths[3]), double(widths[3], widths[2])
        self.context = nn.Sequential(nn.Linear(latent, features), nn.Unflatten(1, deepest), *back)
        self.coarse = decoder(widths[:3], spec.channels, last=None)
        opened: tuple[nn.Module, ...]
        if branch_latent == "spatial":
            self.branch, opened = spatial_branch(2 * inner[0], branch_width), (double(_MAPS, inner[0]),)
        else:
            self.branch, opened = _paper_branch(inner, branch_width, 4 * latent)
        self.detail = nn.Sequential(*opened, decoder(widths[:3], spec.channels, last=None))

    def forward(self, image: Tensor) -> Cascaded:
        shallow = self.shallow(image)
        main = self.main(shallow)
        context = self.context(draw(main, random=self.training))
        branch = self.branch(torch.cat([context, shallow], 1))
        return Cascaded(main, branch, context, self.coarse(context), self.detail(draw(branch, random=self.training)))


def spatial_branch(channels: int, width: int) -> nn.Sequential:
    """(B, channels, h, w) to a Gaussian of (B, 8, h / 2, w / 2) variables."""
    return nn.Sequential(halve(channels, width), GaussianHead(partial(nn.Conv2d, width, _MAPS, 1)))


def _paper_branch(inner: tuple[int, int, int], width: int, latent: int) -> tuple[nn.Sequential, tuple[nn.Module, ...]]:
    """(B, 2 inner[0], h, w) to a Gaussian of (B, latent) variables, and the layers from those back to (B, *inner)."""
    channels, height, across = inner
    seen = width * (height // 2) * (across // 2)
    head = GaussianHead(partial(nn.Linear, seen, latent))
    opened = nn.Linear(latent, channels * height * across), nn.Unflatten(1, inner)
    return nn.Sequential(halve(2 * channels, width), nn.Flatten(), head), opened
