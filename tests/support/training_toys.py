"""Small detectors and images for the tests of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seeds import shifted
from torch import Tensor, nn
from torch.nn import functional as F

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Update
from medood.recipe.recipe import Training
from medood.training.trainer import train

CPU = torch.device("cpu")
SIDE = 6


class Pictures:
    """Images in memory; `asked` remembers every request."""

    def __init__(self, count: int, seed: int = 0) -> None:
        values = np.random.default_rng(seed).random((count, 1, SIDE, SIDE), dtype=np.float32)
        self.values = values
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, numbers: np.ndarray) -> Tensor:
        self.asked.append(numbers.tolist())
        return torch.from_numpy(self.values[numbers])


def plan(**changes: Any) -> Training:
    return Training(**{"batch_size": 4, "tensorboard": False} | changes)


def run(
    detector: Detector, folder: Path, settings: Training | None = None, *, images: int = 18, held_out: int = 0, **options: Any
) -> Detector:
    """Train on the CPU, in silence, with seed 3; in one thread, as a second one only costs time with so little to compute."""
    options = {"seed": 3, "device": CPU, "progress": False} | options
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(detector, Pictures(images), Pictures(held_out, seed=1), settings or plan(), folder, **options)
    finally:
        torch.set_num_threads(threads)
    return detector


def seeded(make: Callable[..., Detector], *arguments: Any) -> Detector:
    """A new detector with the same first weights every time."""
    torch.manual_seed(shifted(0))
    return make(*arguments)


class Toy(Detector):
    """A detector of the given phases, each made by a function of the detector."""

    def __init__(self, *phases: Callable[[Any], Phase], net: nn.Module | None = None) -> None:
        super().__init__(ImageSpec(1, SIDE, SIDE))
        self.net = net or nn.Linear(SIDE * SIDE, SIDE * SIDE)
        self.make = phases

    def phases(self) -> Sequence[Phase]:
        return [make(self) for make in self.make]

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image.flatten(1))


class Reconstruct(Phase):
    """Learns to give the image back."""

    name = "reconstruct"
    epochs = 3

    def __init__(self, detector: Toy) -> None:
        self.detector = detector
        self.optimizers = {"net": torch.optim.SGD(detector.net.parameters(), lr=0.1, momentum=0.9)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = F.mse_loss(self.detector(batch.image), batch.image.flatten(1))
        update(loss, "net")
        return {"loss": loss.detach()}


class Scripted(Reconstruct):
    """Counts its epochs in a weight, and is as good in each epoch as the script says."""

    epochs = 6
    script: list[float] = []

    def __init__(self, detector: Toy) -> None:
        detector.net.bias.data.zero_()
        self.detector = detector
        self.optimizers = {"net": torch.optim.SGD([detector.net.bias], lr=1.0)}
        self.finished_with = -1

    @property
    def epoch(self) -> int:
        return round(self.detector.net.bias[0].item())

    def step(self, batch, update):
        update(-self.detector.net.bias.sum(), "net")
        return {}

    def finish(self) -> None:
        self.detector.finished_with = self.epoch

    def validate(self, batch):
        return torch.full((len(batch.image),), self.script[self.epoch - 1])


def scripted(*losses: float) -> Toy:
    return Toy(type("Script", (Scripted,), {"script": list(losses)}))


class Collect(Phase):
    """A closed form: the mean image, and how many images there were."""

    name = "collect"

    def __init__(self, detector: Toy) -> None:
        self.detector = detector
        detector.register_buffer("mean_", None)

    def begin(self) -> None:
        self.seen: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.seen.append(batch.image)
        return {}

    def finish(self) -> None:
        self.detector.mean_ = torch.cat(self.seen).mean(0)

    def validate(self, batch: Batch) -> Tensor | None:
        raise AssertionError("a closed form has no epochs to choose from")


class Watched(Detector):
    """Three phases with everything that a restart could lose; `watch` hears of every call to a phase.

    Dropout and noise draw from torch's generator, batch norm keeps running buffers, Adam and momentum keep state, a closed form in the
    middle freezes the encoder and fills a buffer that was empty, and the last phase's `begin` overwrites a buffer that its steps move.
    """

    def __init__(self, watch: Callable[[str], None] = lambda call: None) -> None:
        super().__init__(ImageSpec(1, SIDE, SIDE))
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1))
        self.decoder = nn.Sequential(nn.Dropout(0.3), nn.ConvTranspose2d(4, 1, 2, 2))
        self.head = nn.Linear(4, 4)
        self.register_buffer("bank_", torch.zeros(0, 4))
        self.register_buffer("radius_", torch.zeros(()))
        self.watch = watch

    def phases(self) -> Sequence[Phase]:
        return [WatchedAutoencoder(self), WatchedBank(self), WatchedSphere(self)]

    def features(self, image: Tensor) -> Tensor:
        return self.encoder(image).mean((2, 3))


class WatchedPhase(Phase):
    def __init__(self, detector: Watched) -> None:
        self.detector = detector
        self.optimizers = self.make_optimizers()

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {}

    def begin(self) -> None:
        self.detector.watch(f"begin {self.name}")

    def finish(self) -> None:
        self.detector.watch(f"finish {self.name}")

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.detector.watch(f"step {self.name}")
        return self.learn(batch, update)

    def learn(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        raise NotImplementedError

    def validate(self, batch: Batch) -> Tensor | None:
        self.detector.watch(f"validate {self.name}")
        return None


class WatchedAutoencoder(WatchedPhase):
    name = "autoencoder"
    epochs = 3

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        parts = self.detector.encoder, self.detector.decoder
        return {part: torch.optim.Adam(module.parameters(), 0.01) for part, module in zip(("encoder", "decoder"), parts, strict=True)}

    def learn(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        losses = {}
        for name in self.optimizers:
            noisy = (batch.image + 0.1 * torch.randn_like(batch.image)).masked_fill(batch.hidden, 0)
            loss = F.mse_loss(self.detector.decoder(self.detector.encoder(noisy)), batch.image)
            update(loss, name)
            losses[name] = loss.detach()
        return losses

    def validate(self, batch: Batch) -> Tensor | None:
        super().validate(batch)
        return (self.detector.decoder(self.detector.encoder(batch.image)) - batch.image).square().mean((1, 2, 3)) + torch.rand(
            len(batch.image)
        )


class WatchedBank(WatchedPhase):
    name = "bank"

    def begin(self) -> None:
        super().begin()
        self.rows: list[Tensor] = []

    def learn(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.rows.append(self.detector.features(batch.image))
        return {}

    def finish(self) -> None:
        super().finish()
        self.detector.bank_ = torch.cat(self.rows)
        self.detector.encoder.requires_grad_(False)


class WatchedSphere(WatchedPhase):
    name = "sphere"
    epochs = 3

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"head": torch.optim.SGD([*self.detector.encoder.parameters(), *self.detector.head.parameters()], 0.05, momentum=0.9)}

    def begin(self) -> None:
        super().begin()
        self.detector.radius_.copy_(self.detector.bank_.norm() + self.detector.head.weight.norm())

    def learn(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        distance = (self.detector.head(self.detector.features(batch.image)) - self.detector.bank_.mean(0)).norm(dim=1)
        self.detector.radius_.mul_(0.9).add_(0.1 * distance.detach().mean())
        loss = (distance - self.detector.radius_).abs().mean()
        update(loss, "head")
        return {"distance": loss.detach()}

    def validate(self, batch: Batch) -> Tensor | None:
        super().validate(batch)
        return self.detector.head(self.detector.features(batch.image)).norm(dim=1)


def hide(sample: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Scales the image and hides a random part of it."""
    generator = torch.Generator().manual_seed(seed)
    image = sample["image"]
    return {
        "image": image * (0.5 + torch.rand((), generator=generator)),
        "hidden": torch.rand(1, *image.shape[1:], generator=generator) < 0.3,
    }


def train_watched(folder: Path, *, resume: bool = False, watch: Callable[[str], None] = lambda call: None, **changes: Any) -> Watched:
    """The training that the tests of resuming kill and compare."""
    settings = plan(schedule="cosine", warmup_epochs=1, clip_norm=1.0, precision="bfloat16", **changes)
    return run(seeded(Watched, watch), folder, settings, held_out=7, augment=hide, resume=resume)
