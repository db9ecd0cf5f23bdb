"""Dirichlet distributions of the outputs of a classifier."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = -69.0775527898214
"""Natural logarithm of 1e-30: no probability counts as smaller, neither in fitting nor in scoring."""

LARGEST = 1e6
"""No parameter is larger: of a classifier that is always as sure they would grow without bound."""

_EULER = 0.5772156649015329
_STEPS, _DONE = 200, 1e-9
_LEAST_SHRINKING = 0.2


def log_probabilities(logits: Tensor) -> Tensor:
    """(..., K): natural logarithms of the softmax, not below `FLOOR`; in float64, but for Apple's GPUs, which have none."""
    exact = torch.float32 if logits.device.type == "mps" else torch.float64
    return logits.to(exact).log_softmax(-1).clamp(min=FLOOR)


def fit_dirichlet(mean: Tensor, mean_log: Tensor) -> Tensor:
    """(..., K) float64: the parameters of greatest likelihood, from means of probabilities and of their logarithms over the samples.

    From the start of Wicker et al. (CSDA 2008) by Newton's method with the inverse of Minka ("Estimating a Dirichlet distribution", 2000),
    which takes a few steps where his fixed point takes dozens. Parameters above `LARGEST` are scaled down to it together, so that the mean
    of the distribution stays. All of a distribution are NaN where nothing finite is most likely: all samples are the same.
    """
    mean, mean_log = mean.double(), mean_log.double()
    classes = mean.shape[-1]
    gap = (mean * (mean.log() - mean_log)).sum(-1, keepdim=True)  # 0 when all samples are the same
    alpha = mean * (classes - 1) * _EULER / gap.where(gap > 1e-12, torch.nan)
    for _ in range(_STEPS):
        after = _newton(alpha, mean_log)
        change = ((after - alpha).abs() / (1 + alpha)).nan_to_num(0).max()
        alpha = after
        if change < _DONE:
            break
    alpha = alpha.masked_fill(~alpha.isfinite().all(-1, keepdim=True), torch.nan)
    return alpha * (LARGEST / alpha.amax(-1, keepdim=True)).clamp(max=1)


def _newton(alpha: Tensor, mean_log: Tensor) -> Tensor:
    """One step; the Hessian is a diagonal plus a constant, so its inverse costs no more than the gradient. None falls to 0 or below."""
    total = alpha.sum(-1, keepdim=True)
    gradient = torch.digamma(total) - torch.digamma(alpha) + mean_log
    diagonal, constant = -torch.polygamma(1, alpha), torch.polygamma(1, total)
    shift = (gradient / diagonal).sum(-1, keepdim=True) / (1 / constant + (1 / diagonal).sum(-1, keepdim=True))
    return torch.maximum(alpha - (gradient - shift) / diagonal, _LEAST_SHRINKING * alpha)
