"""IDX files, written byte by byte: which image is which, what is normal, and files that are not whole."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from medood.core.errors import InputError, MedoodError
from medood.data.cache import Cache
from medood.data.split import split
from medood.recipe.loading import load_recipe
from medood.recipe.recipe import Preparation
from medood.sources.cohorts import idx
from medood.sources.cohorts.idx import Idx
from medood.transforms.pipeline import Pipeline

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
LABELS = {TRAIN: "train-labels-idx1-ubyte", TEST: "t10k-labels-idx1-ubyte"}
CLASSES = {TRAIN: [3, 0, 3, 7, 3, 0], TEST: [7, 3, 0]}
ROWS, COLUMNS = 4, 5


def _value(name: str, number: int, row: int, column: int) -> int:
    """Every pixel of every file differs from its neighbours in all directions."""
    return (100 * (name == TEST) + 31 * number + 7 * row + column) % 256


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _images(name: str, count: int) -> bytes:
    pixels = [_value(name, n, r, c) for n in range(count) for r in range(ROWS) for c in range(COLUMNS)]
    return struct.pack(">BBBBIII", 0, 0, 8, 3, count, ROWS, COLUMNS) + bytes(pixels)


def _classes(classes: list[int]) -> bytes:
    return struct.pack(">BBBBI", 0, 0, 8, 1, len(classes)) + bytes(classes)


def _download(folder: Path, ending: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for name, classes in CLASSES.items():
        _write(folder / f"{name}{ending}", _images(name, len(classes)))
        _write(folder / f"{LABELS[name]}{ending}", _classes(classes))
    return folder


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_every_image_has_its_own_pixels_and_class(tmp_path: Path, ending: str) -> None:
    source = Idx(_download(tmp_path, ending), normal=3)
    index = source.index()
    assert index.problems == ()
    assert [e.id for e in index.entries] == [f"{TEST}/{n:05d}" for n in range(3)] + [f"{TRAIN}/{n:05d}" for n in range(6)]
    assert [e.label for e in index.entries] == [1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert [e.part for e in index.entries] == ["test"] * 3 + [None] * 6
    assert len({e.group for e in index.entries}) == 9
    for entry in index.entries:
        name, number = entry.id.split("/")
        volume = source.read(entry)
        expected = [[_value(name, int(number), r, c) for c in range(COLUMNS)] for r in range(ROWS)]
        assert volume.image.dtype == np.float32
        assert volume.image.tolist() == [[expected]]
        assert volume.labels.tolist() == [entry.label]
        assert volume.geometry.shape == (1, ROWS, COLUMNS)


def test_other_classes_never_reach_training(tmp_path: Path) -> None:
    index = Idx(_download(tmp_path), normal=3).index()
    parts = split(index, load_recipe("ivc_ae"))
    assert sorted(e.id for e in (*parts.train, *parts.held_out)) == [f"{TRAIN}/{n:05d}" for n in (0, 2, 4)]


def test_without_a_normal_class_nothing_is_labelled_and_no_labels_are_needed(tmp_path: Path) -> None:
    for path in _download(tmp_path).glob("*labels*"):
        path.unlink()
    index = Idx(tmp_path).index()
    assert {e.label for e in index.entries} == {None}
    parts = split(index, load_recipe("ivc_ae"))
    assert len(parts.train) + len(parts.held_out) == 6
    with pytest.raises(MedoodError, match=r"train-images-idx3-ubyte is there but train-labels-idx1-ubyte is not"):
        Idx(tmp_path, normal=3).index()


def test_a_file_is_opened_once_for_all_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, opened = idx.read_idx, []
    monkeypatch.setattr(idx, "read_idx", lambda path, axes: opened.append(path.name) or read(path, axes))
    source = Idx(_download(tmp_path, ".gz"), normal=0)
    entries = source.index().entries
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(source.read, entries * 20))
    assert sorted(opened) == sorted(f"{name}.gz" for name in (*LABELS, *LABELS.values()))


def test_an_uncompressed_file_is_mapped_and_not_loaded(tmp_path: Path) -> None:
    array = idx.read_idx(_download(tmp_path) / TRAIN, 3)
    assert isinstance(array, np.memmap)
    assert array.shape == (6, ROWS, COLUMNS)


def test_images_of_one_file_are_prepared_apart(tmp_path: Path) -> None:
    source = Idx(_download(tmp_path))
    plan = Preparation(size=(ROWS, COLUMNS), steps=[{"scale_range": {"low": 0.0, "high": 255.0}}])
    store = Cache(Pipeline(plan), ("idx", {}), tmp_path / "cache")
    prepared = [store.prepared(source, entry).open() for entry in source.index().entries]
    for entry, images in zip(source.index().entries, prepared, strict=True):
        np.testing.assert_allclose(images[0] * 255, source.read(entry).image[0], atol=1e-3)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda content: b"", "empty, damaged or cut off"),
        (lambda content: content[:10], "not an IDX file of unsigned bytes with 3 axes"),
        (lambda content: b"\x00\x00\x0d" + content[3:], "not an IDX file of unsigned bytes"),
        (lambda content: content[:3] + b"\x02" + content[4:], "not an IDX file of unsigned bytes"),
        (lambda content: content[:-1], "promises 6 x 4 x 5 values, but 119 are there"),
        (lambda content: content + b"\0", "promises 6 x 4 x 5 values, but 121 are there"),
        (lambda content: content[:4] + b"\xff\xff\xff\xff" * 3 + content[16:], "but 120 are there"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, damage: Callable[[bytes], bytes], says: str) -> None:
    path = _download(tmp_path) / TRAIN
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=says) as caught:
        Idx(tmp_path).index()
    assert TRAIN in str(caught.value)
    assert len(str(caught.value).removeprefix(str(path))) < 160


def test_a_damaged_compression_is_one_sentence(tmp_path: Path) -> None:
    path = _download(tmp_path, ".gz") / f"{TRAIN}.gz"
    whole = path.read_bytes()
    for content in (whole[:-12], whole[:20], b"PK" + whole, whole[:30] + b"\xff\xff\xff\xff" + whole[34:], b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"(cut off|not an IDX file).*download it again\.$"):
            Idx(tmp_path).index()


def test_what_does_not_fit_together_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Idx(tmp_path / "elsewhere").index()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(MedoodError, match=r"expected train-images-idx3-ubyte or t10k-.* found notes\.txt"):
        Idx(tmp_path).index()
    _download(tmp_path)
    with pytest.raises(MedoodError, match="no image is of the class 9"):
        Idx(tmp_path, normal=9).index()
    (tmp_path / LABELS[TRAIN]).write_bytes(_classes([3, 3]))
    with pytest.raises(InputError, match="holds 2 classes for 6 images"):
        Idx(tmp_path, normal=3).index()


def test_an_image_that_is_gone_since_is_said(tmp_path: Path) -> None:
    entries = Idx(_download(tmp_path)).index().entries
    (tmp_path / TRAIN).write_bytes(_images(TRAIN, 2))
    with pytest.raises(InputError, match="holds 2 images only"):
        Idx(tmp_path).read(entries[-1])
