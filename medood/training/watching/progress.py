"""What a person sees while training runs: a bar on a terminal, a line an epoch in a log, nothing when nobody looks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from medood.core.console import duration


class Silence:
    """The interface of all three; shows nothing."""

    def begin(self, phase: str, epochs: int, images: int, epochs_done: int) -> None:
        """A phase of `epochs` epochs over `images` images starts, or goes on after `epochs_done`."""

    def advance(self, images: int) -> None:
        """`images` more images went through the network."""

    def show(self, epoch: int, losses: Mapping[str, float]) -> None:
        """Fresh means of the losses in epoch `epoch`."""

    def end_epoch(self, epoch: int, losses: Mapping[str, float], validation: float | None) -> None:
        """An epoch is done."""

    def end(self) -> None:
        """The phase is done, perhaps before its last epoch."""

    def say(self, sentence: str) -> None:
        """Something to know besides: how long it will take, where it goes on."""


class Bars(Silence):
    """A bar for each phase on a rich Progress: epoch, mean losses, images per second; the bar's own columns give the time left."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def begin(self, phase: str, epochs: int, images: int, epochs_done: int) -> None:
        self.phase, self.epochs = phase, epochs
        self.validation: float | None = None
        self.images_seen, self.started_at = 0, time.monotonic()
        self.task = self.progress.add_task(phase, total=epochs * images, completed=epochs_done * images)

    def advance(self, images: int) -> None:
        self.images_seen += images
        self.progress.advance(self.task, images)

    def show(self, epoch: int, losses: Mapping[str, float]) -> None:
        speed = self.images_seen / (time.monotonic() - self.started_at)
        text = _sentence(self.phase, epoch, self.epochs, losses, self.validation)
        self.progress.update(self.task, description=f"{text}  {speed:.0f} images/s")

    def end_epoch(self, epoch: int, losses: Mapping[str, float], validation: float | None) -> None:
        self.validation = self.validation if validation is None else validation
        self.show(epoch, losses)

    def end(self) -> None:
        self.progress.stop_task(self.task)

    def say(self, sentence: str) -> None:
        self.progress.console.print(sentence, markup=False, highlight=False, soft_wrap=True)


class Lines(Silence):
    """One line at the end of an epoch."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def begin(self, phase: str, epochs: int, images: int, epochs_done: int) -> None:
        self.phase, self.epochs, self.images = phase, epochs, images
        self.done_before, self.started_at = epochs_done, time.monotonic()

    def end_epoch(self, epoch: int, losses: Mapping[str, float], validation: float | None) -> None:
        seconds = (time.monotonic() - self.started_at) / (epoch - self.done_before)
        text = _sentence(self.phase, epoch, self.epochs, losses, validation)
        self.say(f"{text}  {self.images / seconds:.0f} images/s  {duration(seconds * (self.epochs - epoch))} left")

    def say(self, sentence: str) -> None:
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def reporting(progress: Progress | Silence | bool) -> Iterator[Silence]:
    """`progress`: a running rich Progress to add bars to, an object to be told, True for bars on the error stream, False for silence."""
    if isinstance(progress, Silence):
        yield progress
        return
    if isinstance(progress, Progress):
        yield Bars(progress) if progress.console.is_terminal else Lines(progress.console)
        return
    console = Console(stderr=True)
    if not progress:
        yield Silence()
    elif not console.is_terminal:
        yield Lines(console)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, refresh_per_second=2) as own:
            yield Bars(own)


def _sentence(phase: str, epoch: int, epochs: int, losses: Mapping[str, float], validation: float | None) -> str:
    values = dict(losses) | ({} if validation is None else {"validation": validation})
    return "  ".join([phase, f"epoch {epoch}/{epochs}", *(f"{name} {value:.4g}" for name, value in values.items())])
