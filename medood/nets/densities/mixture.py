"""A mixture of Gaussians in the log domain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST_SHARE = 1e-6


def exact(values: Tensor) -> Tensor:
    """In double precision, but on Apple's GPUs, which have none."""
    return values.float() if values.device.type == "mps" else values.double()


@dataclass(frozen=True)
class Mixture:
    """weights (k,) that sum to 1, means (k, d), and lower triangular factors (k, d, d) of the covariances."""

    weights: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    def of(cls, rows: Tensor, shares: Tensor, ridge: float) -> Mixture:
        """The mixture of rows (n, d), of which shares (n, k) that sum to 1 belong to each component; `ridge` is added to all variances.

        A component to which nothing belongs has next to no weight and the ridge alone as its covariance.
        """
        held = shares.sum(0)
        total = held.clamp(min=_LEAST_SHARE)
        means = shares.T @ rows / total[:, None]
        apart = rows[:, None] - means
        covariances = torch.einsum("nk,nki,nkj->kij", shares, apart, apart) / total[:, None, None]
        # What a sum in floating point leaves of a large variance grows with it; so does what keeps the factor real.
        floor = ridge + 1e-12 * covariances.diagonal(dim1=1, dim2=2).amax(1)
        covariances = covariances + floor[:, None, None] * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        return cls(held / held.sum(), means, torch.linalg.cholesky(covariances))

    def energy(self, rows: Tensor) -> Tensor:
        """(n,) of rows (n, d): -log of the density, however small that is."""
        apart = rows.to(self.means)[:, None] - self.means  # (n, k, d)
        turned = torch.linalg.solve_triangular(self.factors, apart.permute(1, 2, 0), upper=False)  # (k, d, n)
        logs = self.factors.diagonal(dim1=1, dim2=2).log().sum(1) + self.means.shape[1] / 2 * math.log(2 * math.pi)
        each = self.weights.clamp(min=torch.finfo(self.weights.dtype).tiny).log()[:, None] - logs[:, None] - turned.square().sum(1) / 2
        return -each.logsumexp(0)

    def inverse_variances(self) -> Tensor:
        """() the sum of 1 / variance over all components and directions of the axes."""
        return (1 / self.factors.square().sum(2)).sum()
