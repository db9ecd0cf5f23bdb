"""What a classifier of transforms says of each place of normal images, which those of other images are compared with."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from medood.core.detector import Batch, Phase, Update
from medood.core.running.processes import summed


class Places(Protocol):
    """A detector whose map is that of `places` beside the mean of normal images."""

    usual_: Tensor  # (1, h, w)

    def places(self, image: Tensor) -> Tensor:
        """(B, 1, h, w) on the network's grid, in the frame of the images."""
        ...


class UsualPlaces(Phase):
    """Keeps the mean of normal images in the buffer `usual_`; one pass."""

    name = "places"

    def __init__(self, detector: Places) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.count, self.total = 0, torch.zeros_like(self.detector.usual_)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.count += batch.whole
        self.total += summed(self.detector.places(batch.image).sum(0))
        return {}

    def finish(self) -> None:
        self.detector.usual_.copy_(self.total / self.count)
