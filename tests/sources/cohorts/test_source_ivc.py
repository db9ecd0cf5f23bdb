"""Vena cava filters: a folder for each type, one of which is normal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from medood.core.errors import InputError, MedoodError
from medood.data.split import split
from medood.recipe.loading import load_preparation, load_recipe
from medood.sources.cohorts.ivc import Ivc


def _filter(path: Path, pixels: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.full((8, 6), 90, np.uint8) if pixels is None else pixels).save(path)


@pytest.fixture
def download(tmp_path: Path) -> Path:
    for number in range(14):
        _filter(tmp_path / str(number) / f"{number}_a.png")
        _filter(tmp_path / str(number) / f"{number}_b.jpg", np.full((8, 6, 3), 90, np.uint8))
    return tmp_path


@pytest.mark.parametrize("normal", [11, 1, 0])
def test_one_type_is_normal_and_all_others_are_not(download: Path, normal: int) -> None:
    index = Ivc(download, normal=normal).index()
    assert index.problems == ()
    assert len(index.entries) == 28
    assert {e.id for e in index.entries if e.label == 0} == {f"{normal}/{normal}_a.png", f"{normal}/{normal}_b.jpg"}
    assert {e.label for e in index.entries} == {0, 1}
    assert {e.part for e in index.entries} == {None}
    assert len({e.group for e in index.entries}) == 28


def test_type_11_is_the_default_and_the_only_one_to_train_on(download: Path) -> None:
    source = Ivc(download)
    parts = split(source.index(), load_recipe("ivc_ae"))
    assert {e.id.partition("/")[0] for e in (*parts.train, *parts.held_out)} == {"11"}
    labels = {e.id: source.read(e).labels.tolist() for e in source.index().entries}
    assert labels["11/11_a.png"] == [0]
    assert labels["1/1_a.png"] == [1]


def test_what_is_missing_or_elsewhere_is_said(download: Path) -> None:
    for name in ("2_a.png", "2_b.jpg"):
        (download / "2" / name).unlink()
    _filter(download / "14" / "x.png")
    _filter(download / "overview.png")
    (download / "labels.csv").write_text("image,type\n")
    (download / "3" / "3_a.png").write_bytes(b"")
    index = Ivc(download).index()
    assert [(p.path, p.code) for p in index.problems] == [
        ("14/x.png", "not_listed"),
        ("2", "incomplete"),
        ("3/3_a.png", "empty"),
        ("overview.png", "not_listed"),
    ]
    assert "of the types 2;" in index.problems[1].message
    assert len(index.entries) == 25
    with pytest.raises(MedoodError, match="the folder 14 of the normal type is missing: expected 0 to 13"):
        Ivc(download, normal=14).index()
    for path in (download / "11").iterdir():
        path.unlink()
    (download / "11").rmdir()
    with pytest.raises(MedoodError, match="the folder 11 of the normal type is missing"):
        Ivc(download).index()
    with pytest.raises(InputError, match="no such folder"):
        Ivc(download / "elsewhere").index()


@pytest.mark.parametrize(("highest", "colour"), [(200, False), (200, True), (60000, False)])
def test_metal_stays_brighter_than_all_else(tmp_path: Path, highest: int, colour: bool) -> None:
    """One thin strut, less than 0.5 % of the pixels, in 8 or 16 bits, grey or saved as colour."""
    from medood.transforms.pipeline import Pipeline

    pixels = np.full((32, 64), highest // 2, np.uint16 if highest > 255 else np.uint8)
    pixels[0, 0] = 0
    pixels[10:14, 20] = highest
    pixels[10:14, 40:50] = highest * 3 // 4
    _filter(tmp_path / "11" / "a.png", np.stack([pixels] * 3, axis=-1) if colour else pixels)
    source = Ivc(tmp_path)
    prepared = Pipeline(load_preparation("ivc_radiograph")).prepare(source.read(source.index().entries[0])).images
    assert prepared.shape == (1, 1, 256, 256)
    middle = 64 + 12 * 4  # bars of 64 rows above and below: the proportions are kept
    assert prepared[0, 0, middle, 20 * 4 + 2] > 0.85
    assert prepared[0, 0, middle, 45 * 4] == pytest.approx(0.75, abs=0.01)
    assert prepared[0, 0, middle, 230] == pytest.approx(0.5, abs=0.01)
    assert not prepared[0, 0, :60].any()
