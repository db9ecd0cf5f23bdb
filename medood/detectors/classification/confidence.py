"""How sure a classifier is of an image, from its logits and features; higher is less sure. In double precision, in the log domain."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

Logits = Callable[[Tensor], Tensor]
_LEAST_SHRINKAGE = 1e-4  # so that no direction is without variance


def softmax_score(logits: Tensor) -> Tensor:
    """(B,) from (B, classes): log((1 - p) / p) of the highest softmax p, in the order of 1 - p but without ties where p is nearly 1
    (Hendrycks and Gimpel, ICLR 2017)."""
    ordered = logits.sort(1, descending=True).values
    return ordered[:, 1:].logsumexp(1) - ordered[:, 0]


def energy_score(logits: Tensor) -> Tensor:
    """(B,): -log of the sum of exp(logit) (Liu et al., NeurIPS 2020)."""
    return -logits.logsumexp(1)


def tempered_score(logits: Tensor, temperature: float) -> Tensor:
    """(B,): -T log(K p) of the highest softmax p of logits / T over K classes, which does not shrink to nothing for large T."""
    lowest = torch.log(logits.new_tensor(logits.shape[1]))
    return temperature * ((logits / temperature).logsumexp(1) - lowest) - logits.amax(1)


def more_certain(image: Tensor, logits: Logits, temperature: float) -> Tensor:
    """(B, C, H, W) of -1, 0 and 1: the direction of each pixel in which the highest softmax of logits / T grows."""
    with torch.enable_grad():
        image = image.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(-tempered_score(logits(image), temperature).sum(), image)
    return gradient.sign()


class Classes:
    """A Gaussian for every class, all with the same covariance, which is shrunk as Ledoit and Wolf say (Lee et al., NeurIPS 2018).

    means (K, d), inf for a class without images; whitening (d, r) and, in every direction besides, one over the deviation
    """

    def __init__(self, means: Tensor, axes: Tensor, weights: Tensor) -> None:
        self.means, self.axes, self.weights = means, axes, weights

    @classmethod
    def of(cls, rows: Tensor, classes: Tensor, count: int) -> Classes:
        """Of features (n, d) of images of these classes (n,), numbers below `count`."""
        means = rows.new_full((count, rows.shape[1]), torch.inf)
        for number in classes.unique().tolist():
            means[number] = rows[classes == number].mean(0)
        centred = rows - means[classes]
        shrinkage = max(float(ledoit_wolf_shrinkage(centred.cpu().numpy(), assume_centered=True)), _LEAST_SHRINKAGE)
        _, lengths, axes = torch.linalg.svd(centred / len(rows) ** 0.5, full_matrices=False)
        variances = lengths.square()
        floor = (shrinkage * variances.sum() / rows.shape[1]).clamp(min=1e-12)
        weights = torch.cat([(1 - shrinkage) * variances + floor, floor[None]]).rsqrt()
        return cls(means, axes.T.contiguous(), weights)

    def score(self, rows: Tensor) -> Tensor:
        """(B,): the squared Mahalanobis distance from the nearest class."""
        known = self.means[self.means.isfinite().all(1)]
        apart = rows[:, None] - known
        along = apart @ self.axes
        besides = (apart - along @ self.axes.T) * self.weights[-1]
        return ((along * self.weights[:-1]).square().sum(2) + besides.square().sum(2)).amin(1)
