"""The epoch that did best on held-out normal images, and when to stop waiting for a better one."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from medood.core.detector import Detector
from medood.training.checkpoints.weights import snapshot


@dataclass
class BestEpoch:
    """epoch is counted from 1, 0 while nothing was validated; waited counts the validations since then without improvement."""

    epoch: int = 0
    loss: float = 0.0
    waited: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def consider(self, epoch: int, loss: float, detector: Detector) -> None:
        """Remember the detector's weights if `loss` is lower than ever."""
        if self.epoch == 0 or loss < self.loss:
            self.epoch, self.loss, self.waited, self.weights = epoch, loss, 0, snapshot(detector)
        else:
            self.waited += 1

    def exhausted(self, patience: int | None) -> bool:
        return patience is not None and self.waited >= patience
