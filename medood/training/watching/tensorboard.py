"""Curves for TensorBoard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Curves:
    """Named values over iterations, in `tensorboard/` of the run's folder; nothing at all without a writer."""

    def __init__(self, writer: SummaryWriter | None = None) -> None:
        self._writer = writer

    def add(self, group: str, values: Mapping[str, float], step: int) -> None:
        """`step` counts the iterations of all phases, so that a resumed training can take back what it does again."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)


@contextmanager
def curves(folder: Path, wanted: bool, done: int) -> Iterator[Curves]:
    """Curves that go on after iteration `done` of all phases; 0 begins anew."""
    place = folder / "tensorboard"
    if done == 0:
        shutil.rmtree(place, ignore_errors=True)
    if not wanted:
        yield Curves()
        return
    from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

    with SummaryWriter(str(place), purge_step=done + 1 if done else None) as writer:
        yield Curves(writer)
