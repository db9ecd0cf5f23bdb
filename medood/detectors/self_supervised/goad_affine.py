"""Classification of random affine transforms of features or numbers."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from medood.core.detector import Batch, ImageSpec, Phase, Update
from medood.core.running.processes import mean, summed
from medood.core.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from medood.detectors.flows.rows import RowDetector, RowPlan, Standardise
from medood.detectors.self_supervised.goad import squared_distances, surprise, too_far
from medood.features.interface import Extractor
from medood.nets.wide_resnet import linear_head

_ROWS_AT_ONCE = 256


class GoadAffine(RowDetector):
    """GOAD for tables of numbers, and for frozen features: which random affine transform was a normal row put through?

    Bergman & Hoshen, "Classification-based anomaly detection for general data" (GOAD), ICLR 2020, section 4, written from the paper. Every
    transform is a random matrix and a random shift; one perceptron sees all of them, and is to put each transform of normal rows near the
    centre of its own, away from the other centres. Of images: mean and maximum of every channel over the body; no map. Numbers are brought
    to mean 0 and deviation 1.

    components     principal components that are transformed; 0: all numbers as they are
    transforms     that are told apart. The paper takes 256 for tables of hundreds of rows and 32 for larger ones
    size           numbers that a transform makes; 32 for few numbers, 64 or 128 for more in the paper
    width          of the perceptron's layers
    layers         of the perceptron; the paper takes 1 for tables of hundreds of rows and 5 for larger ones
    margin         squared distance by which another centre is to be further away than one's own
    closeness      weight of the loss that demands it, beside the cross entropy
    smoothing      is added to the likelihood of every transform, before they become probabilities
    learning_rate  of Adam
    epochs         of training
    seed           of the transforms

    Score: as of `goad`, minus the logarithm of the probability of the right transform, mean over the transforms. The last epoch counts.
    """

    localises = False
    matrices_: Tensor  # (T, numbers, size)
    shifts_: Tensor  # (T, size)
    centres_: Tensor  # (T, width)

    def __init__(
        self,
        spec: ImageSpec,
        features: Extractor,
        *,
        components: NonNegativeInt = 0,
        transforms: PositiveInt = 32,
        size: PositiveInt = 32,
        width: PositiveInt = 32,
        layers: PositiveInt = 5,
        margin: NonNegativeFloat = 1.0,
        closeness: NonNegativeFloat = 0.1,
        smoothing: NonNegativeFloat = 0.0,
        learning_rate: PositiveFloat = 1e-3,
        epochs: PositiveInt = 25,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(spec, features, RowPlan(components=components))
        self.margin, self.closeness, self.smoothing = margin, closeness, smoothing
        self.learning_rate, self.epochs = learning_rate, epochs
        self.network = _perceptron(size, width, layers)
        self.head = linear_head(width, transforms)
        random = torch.Generator().manual_seed(seed)
        self.register_buffer("matrices_", torch.randn((transforms, self.width, size), generator=random))
        self.register_buffer("shifts_", torch.randn((transforms, size), generator=random))
        self.register_buffer("centres_", torch.zeros(transforms, width))

    def phases(self) -> list[Phase]:
        return [Standardise(self), _Classifier(self), _Centres(self)]

    def transformed(self, rows: Tensor) -> Tensor:
        """(n, T, width): what the perceptron makes of rows (n, numbers) under every transform."""
        return self.network(torch.einsum("nd,tds->nts", rows, self.matrices_) + self.shifts_)

    def loss(self, rows: Tensor) -> Tensor:
        """() of rows (n, numbers), whose own means are the centres while it learns."""
        found = self.transformed(rows)
        right = torch.arange(found.shape[1], device=rows.device).repeat(len(rows))
        told = cross_entropy(self.head(found).flatten(0, 1).float(), right)
        return told + self.closeness * too_far(found.flatten(0, 1).float(), mean(found.float()), right, self.margin).mean()

    def anomaly(self, rows: Tensor) -> Tensor:
        return torch.cat([self._of(part) for part in rows.flatten(0, 1).split(_ROWS_AT_ONCE)]).view(rows.shape[:2])

    def _of(self, rows: Tensor) -> Tensor:
        """(n,)"""
        found = self.transformed(rows)
        right = torch.arange(found.shape[1], device=rows.device).repeat(len(rows))
        surprises = surprise(squared_distances(found.flatten(0, 1), self.centres_), right, self.smoothing)
        return surprises.view(found.shape[:2]).mean(1).float()


def _perceptron(size: int, width: int, layers: int) -> nn.Sequential:
    """(..., size) to (..., width), linear at its end."""
    parts: list[nn.Module] = []
    for a, b in pairwise([size, *[width] * layers]):
        parts += [nn.Linear(a, b), nn.LeakyReLU(0.2)]
    return nn.Sequential(*parts[:-1])


class _Classifier(Phase):
    name = "classifier"

    def __init__(self, detector: GoadAffine) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = [*detector.network.parameters(), *detector.head.parameters()]
        self.optimizers = {"classifier": Adam(parameters, detector.learning_rate, (0.5, 0.999), fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.detector.loss(self.detector.rows(batch.image)[:, 0])
        update(loss, "classifier")
        return {"loss": loss.detach()}


class _Centres(Phase):
    """The means of what the perceptron makes of the normal rows, under each transform; one pass."""

    name = "centres"

    def __init__(self, detector: GoadAffine) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.count, self.sums = 0, torch.zeros_like(self.detector.centres_)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.count += batch.whole
        self.sums += summed(self.detector.transformed(self.detector.rows(batch.image)[:, 0]).sum(0))
        return {}

    def finish(self) -> None:
        self.detector.centres_.copy_(self.sums / self.count)
