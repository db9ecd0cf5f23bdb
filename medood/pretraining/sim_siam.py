"""A network learns that views of an image show the same."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize
from torch.optim import SGD

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, MedoodWarning
from medood.pretraining.views import Views

_COLLAPSED = 0.1  # of the spread of outputs in all directions
_LEARNED = -0.3  # the loss begins at 0 and would be -1 if all views of an image gave the same
_RATE_OF = 256  # images a batch for which the learning rate is meant


class SimSiam(Detector):
    """Chen and He, "Exploring Simple Siamese Representation Learning" (CVPR 2021): no negatives, no queue, and so for small batches and one
    processor.

    It is a detector only in that the trainer trains it: it has no scores, and what it leaves are the weights of `encoder`.

    encoder   images (B, 3, h, w) to grids, `encoder(images, layers)`; layer 4 of `channels` channels is learned from
    size      (height, width) of what the encoder sees
    scale     mean and deviation of the three channels that the encoder is used to
    width     of the outputs that are compared
    """

    mean: Tensor
    deviation: Tensor
    spread_: Tensor  # ()
    loss_: Tensor  # (), of the last steps

    def __init__(
        self,
        spec: ImageSpec,
        encoder: nn.Module,
        *,
        channels: int,
        size: tuple[int, int],
        scale: tuple[Tensor, Tensor],
        epochs: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        smallest: float,
        flip: bool,
        shrunk: tuple[int, int] | None = None,
        width: int = 512,
    ) -> None:
        super().__init__(spec)
        self.localises = False
        self.encoder, self.epochs = encoder, epochs
        self.learning: dict[str, Any] = {"lr": learning_rate * batch_size / _RATE_OF, "momentum": 0.9, "weight_decay": weight_decay}
        self.views = Views(size, smallest=smallest, flip=flip, shrunk=shrunk)
        self.projector = nn.Sequential(*_layer(channels, width), nn.ReLU(), *_layer(width, width))
        self.predictor = nn.Sequential(*_layer(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width))
        for name, value in zip(("mean", "deviation"), scale, strict=True):
            self.register_buffer(name, value.clone())
        self.register_buffer("spread_", torch.zeros(()))
        self.register_buffer("loss_", torch.zeros(()))

    def phases(self) -> list[Phase]:
        return [_Siamese(self)]

    def project(self, image: Tensor) -> Tensor:
        """(B, width) of a view of each image, drawn anew."""
        unit = (image - self.spec.low) / (self.spec.high - self.spec.low)
        view = (self.views(unit).expand(-1, 3, -1, -1) - self.mean) / self.deviation
        (grid,) = self.encoder(view, (4,))
        found: Tensor = self.projector(grid.mean((2, 3)))
        return found

    def weights(self) -> Mapping[str, Tensor]:
        """What the encoder has learned, by the names under which its weights files are read."""
        return self.encoder.state_dict()

    def _score(self, image: Tensor) -> Scores:
        raise MedoodError("A network that is being pretrained has no scores: give its weights to the features of a detector.")


def _layer(before: int, after: int) -> list[Any]:
    """Without an offset, which the norm takes away again."""
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after)]


class _Siamese(Phase):
    """Each view foretells what the other becomes, whose own part of the loss sends no gradients."""

    name = "pretraining"

    def __init__(self, detector: SimSiam) -> None:
        self.detector, self.epochs = detector, detector.epochs
        self.optimizers = {"network": SGD(detector.parameters(), **detector.learning)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        detector = self.detector
        first, second = detector.project(batch.image), detector.project(batch.image)
        loss = (self._missed(first, second) + self._missed(second, first)) / 2
        update(loss, "network")
        spread = spread_of(first.detach())
        detector.spread_.lerp_(spread.to(detector.spread_), 0.1)
        detector.loss_.lerp_(loss.detach().to(detector.loss_), 0.1)
        return {"loss": loss.detach(), "spread": spread}

    def _missed(self, seen: Tensor, other: Tensor) -> Tensor:
        return -cosine_similarity(self.detector.predictor(seen), other.detach(), dim=1).mean()

    def finish(self) -> None:
        spread = float(self.detector.spread_)
        if spread < _COLLAPSED:
            warnings.warn(
                f"Pretraining collapsed: the network answers nearly the same to every image (spread {spread:.2g} of 1). Take more images, "
                "larger batches or a lower `pretraining.learning_rate`; these weights are of no use.",
                MedoodWarning,
                stacklevel=2,
            )
        elif (loss := float(self.detector.loss_)) > _LEARNED:
            warnings.warn(
                f"Pretraining has learned next to nothing (loss {loss:.2g}; 0 is nothing, -1 everything): take more epochs or a higher "
                "`pretraining.learning_rate`. Features made with these weights may be worse than with those that it began with.",
                MedoodWarning,
                stacklevel=2,
            )


def spread_of(outputs: Tensor) -> Tensor:
    """() of outputs (B, d): 1 when their directions differ as random ones do, 0 when all are the same."""
    directions = normalize(outputs.float(), dim=1)
    return directions.std(0, correction=0).mean() * outputs.shape[1] ** 0.5
