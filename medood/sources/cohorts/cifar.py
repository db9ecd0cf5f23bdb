"""CIFAR-10 and CIFAR-100, in the two layouts in which they are published."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import photograph_geometry
from medood.core.shield import kind_of, shield
from medood.core.types import NonNegativeInt
from medood.core.volume import Entry, Index, Volume
from medood.sources.annotation import slice_labels
from medood.sources.cohorts.plain_pickle import read_plain_pickle

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_BATCHES = {
    10: {**{f"data_batch_{number}": None for number in range(1, 6)}, "test_batch": "test"},
    100: {"train": None, "test": "test"},
}
_FOLDERS = {10: ("cifar-10-batches-bin", "cifar-10-batches-py"), 100: ("cifar-100-binary", "cifar-100-python")}
_KEYS = {(10, "fine"): "labels", (100, "fine"): "fine_labels", (100, "coarse"): "coarse_labels"}


@dataclass(frozen=True)
class _Batch:
    """images uint8 (n, 3, 32, 32); classes (n,)."""

    images: np.ndarray
    classes: np.ndarray


class Cifar:
    """CIFAR-10 or CIFAR-100: colour images of 32 x 32 pixels and their classes.

    ```
    root/data_batch_1.bin ... data_batch_5.bin  test_batch.bin     CIFAR-10, binary version
    root/data_batch_1 ... data_batch_5  test_batch                 CIFAR-10, Python version
    root/train.bin  test.bin                                       CIFAR-100, binary version
    root/train  test                                               CIFAR-100, Python version
    ```
    The unpacked folder, such as cifar-10-batches-bin, may also lie in the root. The publisher's test part is our "test"; the rest is to be
    split. Whatever batches are there are taken. Each image is a group of its own. Files of the Python version are read without running
    anything that they name.

    classes  10 or 100: which of the two
    level    for CIFAR-100: "fine", 100 classes, or "coarse", 20 classes of five each
    normal   the number of the class that is normal, all others are anomalous; "all": every image is normal, to be told from other sets;
             without it no labels are known, so that training takes every image
    only     numbers of the classes to take, of a contrast say; null: all
    """

    def __init__(
        self,
        root: Path,
        *,
        classes: Literal[10, 100] = 10,
        level: Literal["fine", "coarse"] = "fine",
        normal: NonNegativeInt | Literal["all"] | None = None,
        only: list[NonNegativeInt] | None = None,
    ) -> None:
        if level == "coarse" and classes == 10:
            raise MedoodError("The classes of CIFAR-10 have one level: leave `level` out, or say `classes: 100`.")
        self.root, self.classes, self.level, self.normal = Path(root), classes, level, normal
        self.only = None if only is None else set(only)
        self._read: dict[Path, _Batch] = {}
        self._lock = threading.Lock()

    def index(self) -> Index:
        """Raises MedoodError when there are no images, a file is damaged, or no image is of the classes that are asked for."""
        if not self.root.is_dir():
            raise InputError(f"{self.root}: there is no such folder; check the path.", "not_found")
        here = [(path, part) for name, part in _BATCHES[self.classes].items() if (path := self._file(name))]
        if not here:
            found = ", ".join(sorted(path.name for path in self.root.iterdir())[:4]) or "nothing"
            first = next(iter(_BATCHES[self.classes]))
            raise MedoodError(f"{self.root}: no CIFAR-{self.classes}: expected {first}.bin or {first} and so on, found {found}.")
        entries = [each for path, part in here for each in self._entries(path, part)]
        if not entries or (self.normal is not None and all(entry.label for entry in entries)):
            wanted = self.normal if self.normal is not None else sorted(self.only or ())
            raise MedoodError(f"{self.root}: no image is of the class {wanted}; choose another `normal` or `only`.")
        return Index(self.root, tuple(sorted(entries, key=lambda entry: entry.id)), ())

    def read(self, entry: Entry) -> Volume:
        """Raises InputError when the file is damaged or no longer holds the image."""
        images, number = self._batch(entry.files[0]).images, int(entry.id.rpartition("/")[2])
        if number >= len(images):
            raise InputError(f"{entry.id}: the file holds {len(images)} images only; index the folder again.", "unreadable")
        image = images[number].astype(np.float32)[:, None]
        return Volume(entry, image, photograph_geometry(image.shape[1:]), slice_labels(1, entry.label))

    def _entries(self, path: Path, part: str | None) -> list[Entry]:
        classes = self._batch(path).classes.tolist()
        return [
            Entry(
                name := f"{path.stem}/{number:05d}",
                (path,),
                name,
                part=part,
                label=None if self.normal is None else int(self.normal not in (each, "all")),
                class_name=str(each),
                bytes_per_image=float(_PIXELS),
            )
            for number, each in enumerate(classes)
            if self.only is None or each in self.only
        ]

    def _file(self, name: str) -> Path | None:
        folders = (self.root, *(self.root / folder for folder in _FOLDERS[self.classes]))
        paths = (folder / each for folder in folders for each in (f"{name}.bin", name))
        return next((path for path in paths if path.is_file()), None)

    def _batch(self, path: Path) -> _Batch:
        """The content of a file; opened once."""
        with self._lock:  # images are read in threads
            if path not in self._read:
                read = read_binary if path.suffix else read_python
                self._read[path] = read(path, self.classes, self.level)
            return self._read[path]


def read_binary(path: Path, classes: int, level: str) -> _Batch:
    """A batch of the binary version, memory-mapped: of each image the class in a byte, of CIFAR-100 the coarse one first, then its red,
    green and blue pixels, row by row. Raises InputError."""

    def refusal(error: BaseException) -> InputError:
        return InputError(f"{path}: the file is empty or cannot be read ({kind_of(error)}); download it again.")

    with shield(str(path), refusal):
        content = np.memmap(path, np.uint8, "r")
    head = 1 if classes == 10 else 2
    if len(content) % (head + _PIXELS):
        raise InputError(f"{path}: {len(content)} bytes are no whole number of images of {head + _PIXELS}; download it again.", "truncated")
    rows = content.reshape(-1, head + _PIXELS)
    found = _checked(path, rows[:, 0 if level == "coarse" else head - 1], classes, level)
    return _Batch(rows[:, head:].reshape(-1, 3, _SIDE, _SIDE), found)


def read_python(path: Path, classes: int, level: str) -> _Batch:
    """A batch of the Python version: a pickled dictionary with `data`, (n, 3072), and lists of classes. Raises InputError."""
    other = f"download it again, or take the binary version of CIFAR-{classes}"

    def refusal(error: BaseException) -> InputError:
        return InputError(f"{path}: no CIFAR batch of the Python version, or a damaged one ({kind_of(error)}); {other}.")

    with shield(str(path), refusal):
        found = read_plain_pickle(path.read_bytes())
    key = _KEYS[classes, level]
    images, numbers = (found.get(each) for each in ("data", key)) if isinstance(found, dict) else (None, None)
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != _PIXELS or not _are_numbers(numbers, len(images)):
        raise InputError(f"{path}: expected `data` of {_PIXELS} numbers an image and as many `{key}`; {other}.")
    return _Batch(images.reshape(-1, 3, _SIDE, _SIDE), _checked(path, np.array(numbers), classes, level))


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(type(value) is int for value in values)


def _checked(path: Path, numbers: np.ndarray, classes: int, level: str) -> np.ndarray:
    most = 20 if level == "coarse" else classes
    wrong = numbers[(numbers < 0) | (numbers >= most)]
    if len(wrong):
        raise InputError(f"{path}: found a class {int(wrong[0])}, expected 0 to {most - 1}; is it CIFAR-{classes}? Download it again.")
    return numbers
