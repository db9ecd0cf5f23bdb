"""Diagonal Gaussians over latent variables, as variational autoencoders use them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

_LOGVAR = 10.0


class GaussianHead(nn.Module):
    """Features to a Gaussian of as many independent variables as `layer()` has outputs: one such layer for the means, one for the
    logarithms of the variances, which are kept within -10..10 so that no divergence overflows."""

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.mean, self.logvar = layer(), layer()

    def forward(self, features: Tensor) -> Normal:
        mean, logvar = self.mean(features), self.logvar(features)
        exact = torch.promote_types(mean.dtype, torch.float32)  # divergences need more digits than bfloat16 has
        deviation = (logvar.to(exact).clamp(-_LOGVAR, _LOGVAR) / 2).exp()
        return Normal(mean.to(exact), deviation, validate_args=False)  # validation would wait for the GPU at every step


def draw(posterior: Normal, *, random: bool) -> Tensor:
    """Latent variables: drawn with the reparametrisation trick while a network learns, else the means."""
    return posterior.rsample() if random else posterior.mean


def divergence(posterior: Normal, prior: Normal | None = None) -> Tensor:
    """(B,): Kullback-Leibler divergence KL(posterior || prior) in nats, summed over the variables; the prior is N(0, 1) by default."""
    if prior is None:
        prior = Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean), validate_args=False)
    return kl_divergence(posterior, prior).flatten(1).sum(1)
