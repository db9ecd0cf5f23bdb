"""CIFAR batches, written byte by byte and as pickles: which image is which, what is normal, and files that are not what they should be."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medood.core.errors import InputError, MedoodError
from medood.data.split import split
from medood.recipe.loading import load_recipe
from medood.sources.cohorts.cifar import Cifar
from medood.sources.cohorts.plain_pickle import read_plain_pickle

CLASSES = {"data_batch_1": [3, 0, 3], "data_batch_2": [7, 3], "test_batch": [3, 9]}
FINE, COARSE = {"train": [99, 4, 4], "test": [4, 50]}, {"train": [13, 0, 0], "test": [0, 19]}


def pixels(name: str, count: int) -> np.ndarray:
    """uint8 (count, 3072), different for every file."""
    return np.random.default_rng(sum(map(ord, name))).integers(0, 256, (count, 3072), np.uint8)


def write_binary(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, classes in CLASSES.items():
        rows = [bytes([each]) + row.tobytes() for each, row in zip(classes, pixels(name, len(classes)), strict=True)]
        (folder / f"{name}.bin").write_bytes(b"".join(rows))
    return folder


def write_python(folder: Path, protocol: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, classes in CLASSES.items():
        batch = {b"data": pixels(name, len(classes)), b"labels": classes, b"filenames": ["a.png"] * len(classes), "batch_label": name}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
    return folder


def write_hundred(folder: Path, binary: bool) -> Path:
    for name, fine in FINE.items():
        images, coarse = pixels(name, len(fine)), COARSE[name]
        rows = [bytes([one, other]) + row.tobytes() for one, other, row in zip(coarse, fine, images, strict=True)]
        batch = {"data": images, "fine_labels": fine, "coarse_labels": coarse}
        path, content = (f"{name}.bin", b"".join(rows)) if binary else (name, pickle.dumps(batch, 2))
        (folder / path).write_bytes(content)
    return folder


def python_2(name: str, classes: list[int]) -> bytes:
    """What Python 2 wrote, protocol 2, by hand: texts and the array's content are strings of bytes."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + len(value).to_bytes(4, "little") + value

    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    kind = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01K" + bytes([len(classes)]) + b"M\x00\x0c\x86" + kind + b"\x89" + text(pixels(name, len(classes)).tobytes()) + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([each]) for each in classes) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + state + text(b"labels") + labels + b"u."


@pytest.fixture(params=["binary", "binary in its folder", "python 2", "protocol 2", "protocol 5"])
def ten(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    layout = str(request.param)
    if layout == "python 2":
        for name, classes in CLASSES.items():
            (tmp_path / name).write_bytes(python_2(name, classes))
    elif layout.startswith("protocol"):
        write_python(tmp_path / "cifar-10-batches-py", int(layout[-1]))
    else:
        write_binary(tmp_path / "cifar-10-batches-bin" if "folder" in layout else tmp_path)
    return tmp_path


def test_every_image_has_its_own_pixels_and_class(ten: Path) -> None:
    source = Cifar(ten, normal=3)
    index = source.index()
    assert [each.id for each in index.entries] == [f"{name}/{n:05d}" for name, classes in CLASSES.items() for n in range(len(classes))]
    assert [each.label for each in index.entries] == [0, 1, 0, 1, 0, 0, 1]
    assert [each.class_name for each in index.entries] == list("3037339")
    assert [each.part for each in index.entries] == [None] * 5 + ["test"] * 2
    for entry in index.entries:
        name, number = entry.id.split("/")
        volume = source.read(entry)
        assert np.array_equal(volume.image[:, 0], pixels(name, int(number) + 1)[int(number)].reshape(3, 32, 32))
        assert volume.labels.tolist() == [entry.label]


def test_only_some_classes_of_nobody_knows_what(ten: Path) -> None:
    index = Cifar(ten, only=[7, 9]).index()
    assert [(each.id, each.label, each.class_name) for each in index.entries] == [
        ("data_batch_2/00000", None, "7"),
        ("test_batch/00001", None, "9"),
    ]


@pytest.mark.parametrize("binary", [True, False])
def test_a_hundred_classes_on_two_levels(tmp_path: Path, binary: bool) -> None:
    write_hundred(tmp_path, binary)
    fine = Cifar(tmp_path, classes=100, normal=4).index().entries
    assert [(each.class_name, each.label, each.part) for each in fine] == [
        ("4", 0, "test"),
        ("50", 1, "test"),
        ("99", 1, None),
        ("4", 0, None),
        ("4", 0, None),
    ]
    assert [each.class_name for each in Cifar(tmp_path, classes=100, level="coarse").index().entries] == ["0", "19", "13", "0", "0"]


def test_the_normal_training_images_are_split(tmp_path: Path) -> None:
    index = Cifar(write_binary(tmp_path), normal=3).index()
    parts = split(index, load_recipe("isic_vae"))
    assert len(parts.train) + len(parts.held_out) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"normal": 5}, "class 5"),
        ({"only": [5]}, r"class \[5\]"),
        ({"classes": 100}, "no CIFAR-100"),
        ({"classes": 10, "level": "coarse"}, "one level"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    write_binary(tmp_path)
    with pytest.raises(MedoodError, match=words):
        Cifar(tmp_path, **options).index()


def test_a_folder_that_is_none_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Cifar(tmp_path / "gone").index()
    with pytest.raises(MedoodError, match="found nothing"):
        Cifar(tmp_path).index()


@pytest.mark.parametrize("content", [b"", b"\x03" + bytes(3000), b"\x0b" + bytes(3072)], ids=["empty", "cut off", "class 11"])
def test_a_damaged_binary_batch_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"[dD]ownload it again") as refused:
        Cifar(tmp_path).index()
    assert str(refused.value).startswith(str(tmp_path / "data_batch_1.bin"))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("import pathlib; pathlib.Path('ran').touch()",))


IMAGES = pixels("any", 1)
BATCHES = {
    "runs something": {"data": IMAGES, "labels": [3], "more": Evil()},
    "object array": {"data": np.array([[{}] * 3072], object), "labels": [3]},
    "other numbers": {"data": IMAGES.astype(np.float32), "labels": [3]},
    "other size": {"data": IMAGES[:, :100], "labels": [3]},
    "no classes": {"data": IMAGES},
    "fewer classes": {"data": IMAGES, "labels": []},
    "text as classes": {"data": IMAGES, "labels": ["3"]},
    "a list": [1, 2, 3],
    "a path": {"data": Path("x")},
    "a set": {"data": {1, 2}},
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_of_anything_else_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: Any, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol))
    with pytest.raises(InputError, match="binary version of CIFAR-10") as refused:
        Cifar(tmp_path).index()
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps({"data": IMAGES, "labels": [3]})[:-200],
        b"\x80\x02cos\nsystem\nU\x02id\x85R.",
        b"\x80\x02cnumpy\ndtype\n}U\x05_callcos\nsystem\nsb.",
        b"\x80\x02cnumpy\ndtype\n}U\x05_callK\x01sb.",  # would give the next reader another function
        b"\x80\x02cnumpy\nndarray\n)R.",
        b"\x80\x02]q\x00h\x00a.",  # a list that holds itself
        b"\x80\x02U\x01aQ.",  # something outside the file
    ],
)
def test_a_damaged_or_hostile_pickle_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(InputError, match="download it again, or take the binary version"):
        Cifar(tmp_path).index()
    good = pickle.dumps({"data": IMAGES}, 2)
    assert np.array_equal(read_plain_pickle(good)["data"], IMAGES)  # and nothing was changed for those after it


def test_arrays_that_lie_by_columns() -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for protocol in (2, 5):
        assert np.array_equal(read_plain_pickle(pickle.dumps({"a": array}, protocol))["a"], array)
