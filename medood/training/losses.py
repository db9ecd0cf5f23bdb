"""Losses of an epoch: collected on the device, read now and then, refused when they are no numbers."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import cast

import torch
from ignite.engine import Engine, EventEnum
from torch import Tensor

from medood.core.detector import Batch
from medood.core.errors import TrainingError
from medood.core.running.processes import add_up, sharing, weight

SECONDS_BETWEEN_READS = 0.5


class LossEvents(EventEnum):
    """LOSSES_READ: `engine.state.metrics` holds fresh means."""

    LOSSES_READ = "losses_read"


def diverged(what: str, phase: str, epoch: int, iteration: int) -> TrainingError:
    return TrainingError(
        f"Training stopped: {what} in phase {phase!r}, epoch {epoch}, iteration {iteration}. The weights of the last good epoch are kept. "
        "Try a lower learning rate, training.clip_norm, or training.precision=float32."
    )


class Losses:
    """Ignite handlers that keep `engine.state.metrics`, the mean of every loss over the iterations of the epoch so far.

    Reading a number from a GPU waits for all that it still has to do, so losses are read every half second and not in every iteration.
    Several processes have the same means: those over the whole batch.
    """

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self._unread: list[tuple[int, list[tuple[str, bool]], Tensor]] = []
        self._watched: list[tuple[str, Tensor]] = []
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, int] = defaultdict(int)
        self._read_at = 0.0

    def watch(self, optimizer: str, loss: Tensor) -> None:
        """Look at a loss that an optimizer follows, without counting it among the losses of the history."""
        self._watched.append((f"the loss of optimizer {optimizer!r}", loss.detach()))

    def start(self, engine: Engine) -> None:
        """At the start of an epoch."""
        self._sums.clear()
        self._counts.clear()
        engine.state.metrics = {}

    def collect(self, engine: Engine) -> None:
        """After an iteration."""
        output = cast(Mapping[str, Tensor], engine.state.output)
        iteration = engine.state.iteration
        named = [*((name, True, value) for name, value in output.items()), *((name, False, value) for name, value in self._watched)]
        self._watched.clear()
        if named:
            values = torch.stack([value.detach().float() for *_, value in named])  # a copy: a phase may report a buffer that moves on
            batch = cast(Batch, engine.state.batch)
            with sharing(batch.share):
                self._unread.append((iteration, [(name, counts) for name, counts, _ in named], add_up(values * weight())))
        if time.monotonic() - self._read_at > SECONDS_BETWEEN_READS:
            self.read(engine)

    def read(self, engine: Engine) -> None:
        """Bring the means up to date; at the end of an epoch, too. Raises TrainingError at the first loss that is not finite."""
        unread, self._unread, self._read_at = self._unread, [], time.monotonic()
        if not unread:
            return
        read = torch.cat([values for *_, values in unread]).tolist()
        of_each = [(iteration, name, counts) for iteration, named, _ in unread for name, counts in named]
        for (iteration, name, counts), value in zip(of_each, read, strict=True):
            if not math.isfinite(value):
                what = f"loss {name!r}" if counts else name
                raise diverged(f"{what} became {value}", self.phase, engine.state.epoch, iteration)
            if counts:
                self._sums[name] += value
                self._counts[name] += 1
        engine.state.metrics = {name: total / self._counts[name] for name, total in self._sums.items()}
        engine.fire_event(LossEvents.LOSSES_READ)
