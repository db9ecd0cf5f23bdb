"""MNIST and what is published in its file format."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import photograph_geometry
from medood.core.shield import kind_of, shield
from medood.core.types import NonNegativeInt
from medood.core.volume import Entry, Index, Volume
from medood.sources.annotation import slice_labels

_PARTS = {"train-images-idx3-ubyte": None, "t10k-images-idx3-ubyte": "test"}
_UNSIGNED_BYTE = 8


class Idx:
    """IDX files of grey images and their classes: MNIST, Fashion-MNIST, and others of the same layout.

    ```
    root/train-images-idx3-ubyte       train-labels-idx1-ubyte         each as it is or compressed, .gz
         t10k-images-idx3-ubyte        t10k-labels-idx1-ubyte
    ```
    Whichever of the two parts is there is taken. The publisher's test part (t10k) is our "test"; the training part is to be split. Images
    keep their values of 0..255, and each is a group of its own.

    normal  the class that is normal, all others are anomalous; without it no labels are known, so that training takes every image
    """

    def __init__(self, root: Path, *, normal: NonNegativeInt | None = None) -> None:
        self.root = Path(root)
        self.normal = normal
        self._arrays: dict[Path, np.ndarray] = {}
        self._lock = threading.Lock()

    def index(self) -> Index:
        """Raises MedoodError when there are no images, a file is damaged, labels and images differ in number, or no image is normal."""
        if not self.root.is_dir():
            raise InputError(f"{self.root}: there is no such folder; check the path.", "not_found")
        entries = [e for name, part in _PARTS.items() if (path := self._file(name)) for e in self._entries(name, path, part)]
        if not entries:
            found = ", ".join(sorted(path.name for path in self.root.iterdir())[:4]) or "nothing"
            raise MedoodError(f"{self.root}: no IDX images: expected {' or '.join(_PARTS)}, as they are or with .gz, found {found}.")
        if self.normal is not None and all(entry.label for entry in entries):
            raise MedoodError(f"{self.root}: no image is of the class {self.normal}; choose another `normal`.")
        return Index(self.root, tuple(sorted(entries, key=lambda entry: entry.id)))

    def read(self, entry: Entry) -> Volume:
        """Raises InputError when the file is damaged or no longer holds the image."""
        images, number = self._array(entry.files[0], 3), int(entry.id.rpartition("/")[2])
        if number >= len(images):
            raise InputError(f"{entry.id}: the file holds {len(images)} images only; index the folder again.", "unreadable")
        image = images[number].astype(np.float32)[None, None]
        return Volume(entry, image, photograph_geometry(image.shape[1:]), slice_labels(1, entry.label))

    def _entries(self, name: str, path: Path, part: str | None) -> list[Entry]:
        images = self._array(path, 3)
        count, size = len(images), float(images[:1].nbytes)
        ids = [f"{name}/{number:05d}" for number in range(count)]
        said = [self._said(number) for number in self._classes(name, count)]
        return [Entry(id, (path,), id, part=part, bytes_per_image=size, **known) for id, known in zip(ids, said, strict=True)]

    def _said(self, number: int | None) -> dict[str, Any]:
        """What the class of an image, if it is known, says of its entry."""
        label = None if self.normal is None else int(number != self.normal)
        return {"label": label, "class_name": None if number is None else str(number)}

    def _classes(self, images: str, count: int) -> Sequence[int | None]:
        """The class of each of the images of a part; None of all where nobody needs to know and no file tells."""
        name = images.replace("images-idx3", "labels-idx1")
        path = self._file(name)
        if path is None and self.normal is None:
            return [None] * count
        if path is None:
            raise MedoodError(f"{self.root}: {images} is there but {name} is not: put it beside the images, it says which are normal.")
        classes = self._array(path, 1)
        if len(classes) != count:
            raise InputError(f"{path}: holds {len(classes)} classes for {count} images; download both files again.", "truncated")
        return classes.tolist()

    def _file(self, name: str) -> Path | None:
        return next((path for path in (self.root / name, self.root / f"{name}.gz") if path.is_file()), None)

    def _array(self, path: Path, axes: int) -> np.ndarray:
        """The content of a file; opened or decompressed once."""
        with self._lock:  # images are read in threads
            if path not in self._arrays:
                self._arrays[path] = read_idx(path, axes)
            return self._arrays[path]


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The uint8 array of so many axes that an IDX file holds: memory-mapped, or in memory if the file is compressed.

    The format is two bytes 0, one for the type, one for the number of axes, a big-endian uint32 for the length of each, and the values.
    Raises InputError.
    """

    def refusal(error: BaseException) -> InputError:
        return InputError(f"{path}: the file is empty, damaged or cut off ({kind_of(error)}); download it again.")

    with shield(str(path), refusal):
        compressed = path.suffix == ".gz"
        content = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8) if compressed else np.memmap(path, np.uint8, "r")
    start = 4 + 4 * axes
    if len(content) < start or content[:4].tolist() != [0, 0, _UNSIGNED_BYTE, axes]:
        raise InputError(f"{path}: not an IDX file of unsigned bytes with {axes} axes; download it again.")
    shape = np.frombuffer(content[4:start].tobytes(), ">u4").tolist()
    if len(content) != start + prod(shape):
        promised = " x ".join(map(str, shape))
        raise InputError(
            f"{path}: its header promises {promised} values, but {len(content) - start} are there; download it again.", "truncated"
        )
    return content[start:].reshape(shape)
