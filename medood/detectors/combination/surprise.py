"""How surprising scores are beside those of held-out normal images, and the surprise of several detectors as one number."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

Join = Literal["fisher", "harmonic_mean", "maximum"]

_TAIL = 0.1, 5
"""The share of the held-out scores that the tail is fitted to, and how many at least."""


def surprise(scores: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """-log p, float64 of the shape of `scores`: how seldom a normal image scores so high, from the scores (n,) of held-out normal images.

    At a held-out score p is the conformal p-value, (1 + number of held-out scores >= it) / (n + 1); between two of them its logarithm is a
    straight line. So up to the highest held-out score p is never below the conformal p-value, and valid whatever the distribution.

    Beyond it conformal p-values are all the same. There the excesses are taken as exponential, as excesses over a high threshold of
    light-tailed distributions are in the limit (Pickands, Annals of Statistics 1975; Coles, An Introduction to Statistical Modeling of
    Extreme Values, 2001, chapter 4; few scores cannot tell the shape of a general Pareto tail). Their mean m is known from the gaps between
    the k highest scores alone: by Renyi's representation of spacings (1 + excess / (k m))^-k is then exactly uniform, and p falls so.
    So the order is kept however far a score lies out, few scores make a heavier tail, and the model concerns p-values of less than
    2 / (n + 1) alone.
    """
    levels, at_levels = _curve(normal)
    mean, number = _excess(normal)
    beyond = number * np.log1p(np.maximum(scores - levels[-1], 0) / (number * mean))
    return np.interp(scores, levels, at_levels) + beyond


def surprise_in_tensors(scores: Tensor, normal: np.ndarray) -> Tensor:
    """`surprise` of float64 scores (b,) in operations of tensors alone, for a program that is to run elsewhere."""
    levels, at_levels = map(torch.from_numpy, _curve(normal))
    mean, number = _excess(normal)
    last = len(levels) - 1
    reached = (scores[:, None] >= levels).sum(1)
    below, above = (reached - 1).clamp(min=0), reached.clamp(max=last)
    width = levels[above] - levels[below]
    share = ((scores - levels[below]) / torch.where(width > 0, width, 1.0)).clamp(0, 1)
    beyond = number * torch.log1p((scores - levels[last]).clamp(min=0) / (number * mean))
    return at_levels[below] + share * (at_levels[above] - at_levels[below]) + beyond


def joined_in_tensors(surprises: Tensor, join: Join) -> Tensor:
    """`joined`, likewise."""
    if join == "fisher":
        return surprises.sum(1)
    if join == "maximum":
        return surprises.amax(1)
    return surprises.logsumexp(1) - float(np.log(surprises.shape[1]))


def joined(surprises: np.ndarray, join: Join) -> np.ndarray:
    """(b,) from the surprises (b, m) of m detectors; higher is less normal. No p-value yet, as detectors depend on each other.

    fisher         their sum (Fisher 1932, Statistical Methods for Research Workers): many who are a little surprised count
    harmonic_mean  -log of the harmonic mean of the p-values (Wilson, PNAS 2019): nearly the most surprised, helped by the next
    maximum        the most surprised alone (Tippett 1931), which is the one with the largest z
    """
    if join == "fisher":
        return surprises.sum(1)
    if join == "maximum":
        return surprises.max(1)
    return logsumexp(surprises, axis=1) - np.log(surprises.shape[1])


def _curve(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The held-out scores that differ, rising, and -log of the conformal p-value at each."""
    levels, counts = np.unique(normal, return_counts=True)
    return levels, np.log(len(normal) + 1) - np.log1p(np.cumsum(counts[::-1])[::-1])


def _excess(normal: np.ndarray) -> tuple[float, int]:
    """What a score above the highest one exceeds it by, on average and never 0, and how many scores say so.

    The mean of the gaps between the highest scores, each times its rank when there is one more score above them.
    """
    ordered = np.sort(normal)
    share, least = _TAIL
    number = min(max(round(share * len(ordered)), least), len(ordered) - 1)
    gaps = np.diff(ordered[len(ordered) - number - 1 :])[::-1]
    mean = float((gaps * np.arange(2, number + 2)).mean()) if number else 0.0
    return mean or float(ordered[-1] - ordered[0]) or abs(float(ordered[-1])) or 1.0, max(number, 1)
