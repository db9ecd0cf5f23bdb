"""Arrays, data sets and loaders as images that the trainer can read in any order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.training.data import Images


def as_images(given: Any, spec: ImageSpec, what: str) -> Images:
    """`given` as images of the spec; `what` names them in errors. Raises MedoodError when it is of a kind that cannot be read so."""
    if isinstance(given, (Tensor, np.ndarray)) and given.ndim:
        return _Stack(given, spec, f"The {what}: the detector")
    if hasattr(given, "gather") and not isinstance(given, Tensor):
        return given
    if isinstance(given, DataLoader):
        if given.batch_sampler is None:
            raise MedoodError(f"The {what}: a DataLoader without a batch size makes its batches itself; give its images one by one.")
        return _Items(_by_number(given.dataset, what), given.collate_fn, spec, f"The {what}: the detector")
    return _Items(_by_number(given, what), default_collate, spec, f"The {what}: the detector")


def _by_number(items: Any, what: str) -> Any:
    """`items`, if they have a number and each can be asked for by its own."""
    unordered = isinstance(items, (IterableDataset, Mapping, str)) or (isinstance(items, (Tensor, np.ndarray)) and not items.ndim)
    if unordered or not (hasattr(items, "__getitem__") and hasattr(items, "__len__")):
        raise MedoodError(
            f"The {what}: expected an array or tensor (N, C, H, W), or a data set or DataLoader whose images can be asked for by number, "
            f"found {type(items).__name__}. Collect its images in one array first."
        )
    return items


class _Stack:
    """Images in one array, which may be mapped from a file: (N, C, H, W), or (N, H, W) of one channel."""

    def __init__(self, array: Tensor | np.ndarray, spec: ImageSpec, who: str) -> None:
        self.images = array[:, None] if array.ndim == 3 and spec.channels == 1 else array
        for start in range(0, max(len(self.images), 1), 256):  # what has no images still has a shape
            spec.checked(self.images[start : start + 256], who)

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, numbers: np.ndarray) -> Tensor:
        if isinstance(self.images, np.ndarray):
            return torch.from_numpy(np.require(self.images[numbers], np.float32, ["C", "W"]))
        return self.images[torch.from_numpy(numbers).to(self.images.device)].float().cpu()


class _Items:
    """Images of a data set, asked for one by one and put together by its loader's own function."""

    def __init__(self, items: Any, collate: Callable[[list[Any]], Any], spec: ImageSpec, who: str) -> None:
        self.items, self.collate, self.spec, self.who = items, collate, spec, who

    def __len__(self) -> int:
        return len(self.items)

    def gather(self, numbers: np.ndarray) -> Tensor:
        items = [self.items[int(number)] for number in numbers]
        try:
            batch = self.collate(items)
        except (RuntimeError, TypeError, ValueError) as error:
            kinds = sorted({f"{type(item).__name__} {tuple(getattr(item, 'shape', ()))}" for item in items})
            raise MedoodError(f"{self.who} takes items that are arrays or tensors of one shape, found {', '.join(kinds[:4])}.") from error
        images = _image_of(batch, self.who)
        images = images[:, None] if images.ndim == 3 and self.spec.channels == 1 else images
        return self.spec.checked(images, self.who).as_subclass(Tensor).float().cpu()


def _image_of(batch: Any, who: str) -> Tensor:
    """The images of a batch that may hold other things too."""
    if isinstance(batch, Mapping):
        batch = batch.get("image")
    if isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
    if isinstance(batch, Tensor):
        return batch
    raise MedoodError(f'{who} takes items that are images, tuples that begin with one, or mappings with an "image".')
