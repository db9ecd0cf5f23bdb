"""Training images as batches: their order, their augmentation, and reading ahead while the network computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from medood.core.detector import Augment, Batch
from medood.core.running import processes
from medood.training.randomness import derived_seed

Item = TypeVar("Item")
Made = TypeVar("Made")


class Images(Protocol):
    """Normal images that can be read in any order, as often as wanted and from any thread."""

    def __len__(self) -> int: ...

    def gather(self, numbers: np.ndarray) -> Tensor:
        """Images number `numbers` (int, (B,)) as float32 (B, C, H, W)."""
        ...


def classes_of(images: Images) -> np.ndarray | None:
    """The class of every image as a number, int64 (n,), or None for images that know of no classes."""
    return getattr(images, "classes", None)


def batch_numbers(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut into batches of at most `size`, as few and as equal as can be: a last one of two or three images would pull batch statistics and
    gradients its way just before validation. None is of a single image, as batch norm needs two: of an odd number in pairs one has three.
    """
    count = -(-len(order) // size)
    return np.array_split(order, max(1, count if size == 1 else min(count, len(order) // 2)))


@dataclass
class Batches:
    """Batches of one phase. What a batch holds follows from (seed, phase, epoch) alone, so a resumed run sees the same.

    Of several processes each gets its part of every batch, and all of a batch with fewer images than there are processes.

    contrast  batches of the contrast, as many images a batch as there are here, in an order of their own; or a function that makes the
              contrast of a batch out of the batch and a seed
    """

    images: Images
    size: int
    seed: int
    phase: str
    augment: Augment | None = None
    channels_last: bool = False
    pin: bool = False
    inputs: np.ndarray | None = None
    patients: np.ndarray | None = None
    contrast: Batches | Callable[[Batch, int], Batch | None] | None = None

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(batch_numbers(np.arange(len(self.images)), self.size))

    def stream(self, first: int, last: int) -> Generator[Batch, None, None]:
        """All batches of the epochs first..last (counted from 1), one epoch after the other, read ahead across their borders."""
        plan = ((epoch, start, numbers) for epoch in range(first, last + 1) for start, numbers in self._numbers(epoch))
        return read_ahead(lambda item: self._whole(*item), plan)

    def order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(derived_seed(self.seed, self.phase, epoch)).permutation(len(self.images))

    def _numbers(self, epoch: int) -> Iterator[tuple[int, np.ndarray]]:
        """The numbers of the images of each batch, after how many images of the epoch come before it."""
        start = 0
        for numbers in batch_numbers(self.order(epoch), self.size):
            yield start, numbers
            start += len(numbers)

    def _whole(self, epoch: int, start: int, numbers: np.ndarray) -> Batch:
        """This process's part of a batch with its contrast, where the network wants it."""
        mine = processes.part(len(numbers))
        batch = self._batch(epoch, numbers[mine])
        batch.share = len(batch.image) / len(numbers)
        if isinstance(self.contrast, Batches):
            batch.contrast = self.contrast._batch(epoch, self.contrast._drawn(epoch, start, len(numbers))[mine])
        elif self.contrast is not None:
            everything = Batch(batch.image, inputs=_rows(self.inputs, numbers))
            made = self.contrast(everything, derived_seed(self.seed, self.phase, epoch, start))
            batch.contrast = made and Batch(batch.image, inputs=None if made.inputs is None else made.inputs[mine])
        return _placed(batch, self.channels_last, self.pin)

    def _drawn(self, epoch: int, start: int, count: int) -> np.ndarray:
        """Images start..start + count of an order that begins anew, in another order, whenever all images were drawn."""
        rounds, size = range(start // len(self.images), (start + count - 1) // len(self.images) + 1), len(self.images)
        drawn = [np.random.default_rng(derived_seed(self.seed, self.phase, epoch, "contrast", each)).permutation(size) for each in rounds]
        begin = start - rounds[0] * size
        return np.concatenate(drawn)[begin : begin + count]

    def _batch(self, epoch: int, numbers: np.ndarray) -> Batch:
        image, hidden = self.images.gather(numbers), None
        if self.augment is not None:
            seeds = (derived_seed(self.seed, self.phase, epoch, int(number)) for number in numbers)
            samples = [self.augment({"image": one}, seed) for one, seed in zip(image, seeds, strict=True)]
            image = _stacked(samples, "image")
            hidden = _stacked(samples, "hidden") if "hidden" in samples[0] else None
        return Batch(image, hidden, _rows(self.inputs, numbers), _rows(classes_of(self.images), numbers), _rows(self.patients, numbers))


def patients_of(images: Images) -> np.ndarray | None:
    """int64 (n,): a number for the patient of every image, if the images know their `groups`."""
    groups = getattr(images, "groups", None)
    return None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)


def _stacked(samples: list[dict[str, Tensor]], key: str) -> Tensor:
    """As plain tensors: the subclasses with metadata that MONAI's transforms return would slow every operation of the network."""
    return torch.stack([sample[key].as_subclass(Tensor) for sample in samples])


@dataclass(frozen=True)
class InOrder:
    """Every image once, as it is, in order, with its row of `inputs`; and beside each batch as many images of `contrast`, over and over.

    Several processes take turns at whole batches, of which as many as there are processes count as one that they share. All of them get
    every batch of the last round, if that is not full.
    """

    images: Images
    size: int
    channels_last: bool = False
    pin: bool = False
    inputs: np.ndarray | None = None
    contrast: InOrder | None = None

    def stream(self) -> Generator[tuple[int, Batch], None, None]:
        """Batches that this process is to look at, each after its number."""
        return read_ahead(lambda item: (item[0], _placed(self._batch(*item[1:]), self.channels_last, self.pin)), self._turns())

    def _turns(self) -> Iterator[tuple[int, np.ndarray, float]]:
        """The number of each batch, its images, and their share of what the processes look at in this round."""
        all_numbers, at_once = np.arange(len(self.images)), processes.count() * self.size
        for first in range(0, len(all_numbers), at_once):
            numbers = all_numbers[first : first + at_once]
            batches = [numbers[start : start + self.size] for start in range(0, len(numbers), self.size)]
            full = len(batches) == processes.count() > 1
            for turn, batch in enumerate(batches):
                if not full or turn == processes.rank():
                    yield first // self.size + turn, batch, len(batch) / len(numbers) if full else 1.0

    def _batch(self, numbers: np.ndarray, share: float = 1.0) -> Batch:
        batch = Batch(self.images.gather(numbers), None, _rows(self.inputs, numbers), _rows(classes_of(self.images), numbers), share=share)
        if self.contrast is not None and len(self.contrast.images):
            batch.contrast = self.contrast._batch(numbers % len(self.contrast.images))
        return batch


def _rows(values: np.ndarray | None, numbers: np.ndarray) -> Tensor | None:
    return None if values is None else torch.from_numpy(values[numbers])


def _placed(batch: Batch, channels_last: bool, pin: bool) -> Batch:
    """The memory layout of the network, and memory from which a GPU copies while it computes."""
    if channels_last:
        for part in (batch, batch.contrast):
            if part is not None:
                part.image = part.image.contiguous(memory_format=torch.channels_last)
    return batch.pin_memory() if pin else batch


def read_ahead(make: Callable[[Item], Made], items: Iterable[Item], ahead: int = 2) -> Generator[Made, None, None]:
    """`make(item)` for every item in order, made by one background thread up to `ahead` items early. Close it to end the thread.

    A thread and not worker processes: those would import everything again, and reading and copying release the interpreter's lock.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="medood-read")
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
