"""How long a phase will take and how much memory it needs, said before its first epoch is over."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from ignite.engine import Engine

from medood.core.console import duration
from medood.core.running.memory import peak_memory

SECONDS_TO_MEASURE = 3.0


class Forecast:
    """Ignite handlers that call `say` once with a sentence, after some batches; with one or two an epoch, after the first epoch.

    The first batch is not counted: it allocates memory and chooses algorithms. Validation is not measured yet.
    """

    def __init__(self, phase: str, epochs: int, batches: int, device: torch.device, say: Callable[[str], None]) -> None:
        """`epochs` are those still to come, of `batches` each."""
        self.phase, self.epochs, self.batches, self.device, self.say = phase, epochs, batches, device, say
        self.begun = time.monotonic()
        self.seen = 0
        self.done = False

    def collect(self, engine: Engine) -> None:
        """After an iteration."""
        if self.done:
            return
        self.seen += 1
        now = time.monotonic()
        if self.seen == 1:
            self.first, self.begun = now - self.begun, now
        elif self.seen + 1 == self.batches or (self.seen > 3 and now - self.begun > SECONDS_TO_MEASURE):
            self._say((now - self.begun) / (self.seen - 1))

    def end_epoch(self, engine: Engine) -> None:
        """After an epoch."""
        if not self.done:
            self._say((time.monotonic() - self.begun) / (self.seen - 1) if self.seen > 1 else self.first)

    def _say(self, seconds: float) -> None:
        self.done = True
        epoch = seconds * self.batches
        whole = f" an epoch, {duration(epoch * self.epochs)} for {self.epochs} epochs" if self.epochs > 1 else ""
        self.say(f"{self.phase}: about {duration(epoch)}{whole}{self._memory()}")

    def _memory(self) -> str:
        """The most that was in use so far."""
        if self.device.type == "cuda":
            return f"; {torch.cuda.max_memory_reserved(self.device) / 2**30:.1f} GiB of GPU memory"
        peak = peak_memory()
        return "" if peak is None else f"; {peak / 2**30:.1f} GiB of memory"
