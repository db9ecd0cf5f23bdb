"""Prepared images on disk, memory-mapped, so that later epochs and later recipes never decode again."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medood import __version__
from medood.core.errors import MedoodError
from medood.core.files.atomic import atomic_folder
from medood.core.files.shelves import use
from medood.core.files.user_folders import default_cache
from medood.core.geometry import Raster
from medood.core.volume import Entry, Source
from medood.data.input_facts import input_facts
from medood.data.near_copies import NO_HASHES, HashedImages, perceptual_hash
from medood.sources.fetching import bring
from medood.transforms.pipeline import Pipeline

_LAYOUT = 6
"""Changes when the files of an entry do, so that older entries are made anew."""

SELECTING = ("exclude", "only", "csv", "group")
"""Parameters of sources that choose entries and change nothing in an entry that `_content_key` does not see."""


@dataclass(frozen=True)
class CachedEntry:
    """A prepared entry on disk: `images.npy` (n, channels, height, width), `hashes.npy` (n, 400), and what goes with every image.

    `digest` stands for the values of its images and their labels, wherever the files lie.
    """

    folder: Path
    entry: Entry
    slices: np.ndarray
    labels: np.ndarray
    facts: dict[str, Any]
    raster: Raster
    digest: str

    def open(self) -> np.ndarray:
        return np.load(self.folder / "images.npy", mmap_mode="r")

    @property
    def hashes(self) -> np.ndarray:
        """The perceptual hash of every image."""
        return np.load(self.folder / "hashes.npy")


class Cache:
    """Prepared images on disk, keyed by the files' content and the pipeline; shared by every recipe that prepares images the same way."""

    def __init__(self, pipeline: Pipeline, source: tuple[str, Mapping[str, Any]], folder: Path | None = None) -> None:
        """`source` is the name and the parameters of the source that will be asked: they too decide what is read."""
        name, parameters = source
        reading = {key: value for key, value in parameters.items() if key not in SELECTING}
        plan = pipeline.preparation.model_dump(mode="json", exclude={"summary"})
        digest = hashlib.sha256(json.dumps([_LAYOUT, __version__, plan, name, reading], sort_keys=True, default=str).encode()).hexdigest()
        self.pipeline = pipeline
        self.folder = (folder or default_cache()) / digest[:16]
        self._about = {"source": name, "transforms": pipeline.preparation.summary, "size": "x".join(map(str, plan["size"]))}

    def prepared(self, source: Source, entry: Entry) -> CachedEntry:
        """The entry from the cache, decoded and prepared first if it is not there yet. Raises InputError if it cannot be."""
        use(self.folder, self._about)
        bring(entry.files)
        place = self.folder / _content_key(entry)
        there = place.exists()
        found = _whole(place, entry)
        if found is None:
            if there:  # and damaged: nothing half-made is ever moved into place
                shutil.rmtree(place, ignore_errors=True)
            self._make(place, source, entry)
            found = _whole(place, entry)
        if found is None:
            raise MedoodError(
                f"{place} in the cache of prepared images cannot be read back: empty the cache, or choose another with --cache."
            )
        return found

    def _make(self, place: Path, source: Source, entry: Entry) -> None:
        volume = source.read(entry)
        result = self.pipeline.prepare(volume)
        facts = {
            "slices": result.slices.tolist(),
            "labels": result.labels.tolist(),
            "raster": asdict(result.raster),
            "input": input_facts(volume, result),
            "digest": _digest(result.images, result.labels),
        }
        with atomic_folder(place, keep_existing=True) as part:
            np.save(part / "images.npy", result.images)
            np.save(part / "hashes.npy", perceptual_hash(result.images, self.pipeline.spec.high - self.pipeline.spec.low))
            (part / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


class CachedImages:
    """The normal images of many cached entries by number, in the order of the entries and their slices; float32 (B, C, H, W) tensors.

    Memory-mapped: only what is asked for is read, and the operating system keeps what is asked for often.
    """

    def __init__(self, entries: Sequence[CachedEntry], class_names: Sequence[str] = ()) -> None:
        """`class_names` are what the numbers in `classes` stand for; without them there are no classes."""
        chosen = [np.flatnonzero(_normal(e.labels)) for e in entries]
        self.entries = entries
        self.owner = np.repeat(np.arange(len(entries)), [len(rows) for rows in chosen])
        self.row = np.concatenate([*chosen, np.zeros(0, int)]).astype(int)
        number = {name: place for place, name in enumerate(class_names)}
        of_entry = np.array([number.get(e.entry.class_name or "", -1) for e in entries], np.int64)
        self.class_names = class_names
        self.classes = of_entry[self.owner] if class_names else None
        self._open: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedImages, (self.entries, self.class_names)  # another process opens the files itself

    def __len__(self) -> int:
        return len(self.row)

    @property
    def groups(self) -> list[str]:
        return [self.entries[i].entry.group for i in self.owner.tolist()]

    def hashed(self) -> HashedImages:
        """The perceptual hashes of all these images."""
        hashes = [e.hashes[_normal(e.labels)] for e in self.entries]
        return HashedImages(np.concatenate([*hashes, NO_HASHES]), self.owner, [e.entry.id for e in self.entries])

    def gather(self, numbers: np.ndarray) -> Tensor:
        images = [self._array(int(self.owner[n]))[int(self.row[n])] for n in numbers]
        return torch.from_numpy(np.stack(images))

    def _array(self, owner: int) -> np.ndarray:
        with self._lock:  # the trainer reads ahead in threads
            array = self._open.get(owner)
            if array is None:
                array = self._open[owner] = self.entries[owner].open()
                if len(self._open) > 128:  # every open map holds a file handle
                    self._open.popitem(last=False)
            return array


def _whole(place: Path, entry: Entry) -> CachedEntry | None:
    """The cached entry, or None when it is not there or damaged."""
    try:
        facts = json.loads((place / "facts.json").read_text(encoding="utf-8"))
        slices, labels = np.array(facts["slices"], int), np.array(facts["labels"], np.int8)
        cached = CachedEntry(place, entry, slices, labels, facts["input"], _raster(facts), facts["digest"])
        return cached if len(cached.open()) == len(cached.hashes) == len(cached.slices) == len(cached.labels) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, str(array.dtype))).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _raster(facts: dict[str, Any]) -> Raster:
    return Raster(tuple(facts["raster"]["pixel_mm"]), facts["raster"]["slice_mm"], facts["raster"]["known"])


def _normal(labels: np.ndarray) -> np.ndarray:
    """Which slices may be trained on: those labelled normal; all of a volume that nobody labelled, because the user says it is normal."""
    return (labels == 0) | (labels == -1).all()


def _content_key(entry: Entry) -> str:
    """Changes when the entry or a file changes: label, and path, size, time and both ends of every file that is read for it."""
    digest = hashlib.sha256(repr((entry.id, entry.label)).encode())
    for path in [*entry.files, *([entry.mask] if entry.mask else [])]:
        stat = path.stat()
        digest.update(repr((str(path.resolve()), stat.st_size, stat.st_mtime_ns)).encode())
        with path.open("rb") as file:
            digest.update(file.read(4096))
            file.seek(max(0, stat.st_size - 4096))
            digest.update(file.read(4096))
    return digest.hexdigest()[:32]
