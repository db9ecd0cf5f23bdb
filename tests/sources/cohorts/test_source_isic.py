"""The ISIC challenge layouts, their labels, and incomplete downloads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from medood.core.errors import MedoodError
from medood.sources.cohorts.isic import Isic


def _pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Picture.fromarray(np.full((6, 8, 3), 40 * number, np.uint8)).save(folder / name)


def _found(root: Path, year: int) -> dict[str, tuple[str, int | None, str | None]]:
    return {e.id.rpartition("/")[2]: (e.group, e.label, e.part) for e in Isic(root, year=year).index().entries}


def test_2017_melanoma_is_the_anomaly(tmp_path: Path) -> None:
    _pictures(tmp_path / "ISIC-2017_Training_Data", ["ISIC_1.jpg", "ISIC_2.jpg", "ISIC_3.jpg", "ISIC_1_superpixels.png", "ISIC_1.png"])
    (tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv").write_text(
        "image_id,melanoma,seborrheic_keratosis\nISIC_1,0.0,0.0\nISIC_2,0.0,1.0\nISIC_3,1.0,0.0\n"
    )
    _pictures(tmp_path / "ISIC-2017_Validation_Data", ["ISIC_4.jpg"])
    (tmp_path / "ISIC-2017_Validation_Classes.csv").write_text("image_id,melanoma\nISIC_4,1.0\n")
    _pictures(tmp_path / "ISIC-2017_Test_v2_Data" / "ISIC-2017_Test_v2_Data", ["ISIC_5.jpg"])
    (tmp_path / "ISIC-2017_Test_v2_Part3_GroundTruth.csv").write_text("image_id,melanoma,seborrheic_keratosis\nISIC_5,0,1\n")
    assert _found(tmp_path, 2017) == {
        "ISIC_1.jpg": ("ISIC_1", 0, None),
        "ISIC_2.jpg": ("ISIC_2", 0, None),
        "ISIC_3.jpg": ("ISIC_3", 1, None),
        "ISIC_4.jpg": ("ISIC_4", 1, "test"),
        "ISIC_5.jpg": ("ISIC_5", 0, "test"),
    }
    source = Isic(tmp_path)
    index = source.index()
    assert index.problems == ()
    assert [e.id for e in index.entries] == sorted(e.id for e in index.entries)
    volume = source.read(next(e for e in index.entries if e.group == "ISIC_3"))
    assert volume.image.shape == (3, 1, 6, 8)
    assert volume.labels.tolist() == [1]


@pytest.mark.parametrize("part", ["Part3", "Part3B"])
def test_2016_has_words_and_no_header(tmp_path: Path, part: str) -> None:
    _pictures(tmp_path / f"ISBI2016_ISIC_{part}_Training_Data", ["ISIC_0000000.jpg", "ISIC_0000001.jpg", "ISIC_0000001_Segmentation.png"])
    (tmp_path / f"ISBI2016_ISIC_{part}_Training_GroundTruth.csv").write_text("ISIC_0000000,benign\nISIC_0000001,malignant\n")
    _pictures(tmp_path / f"ISBI2016_ISIC_{part}_Test_Data", ["ISIC_0000003.jpg"])
    (tmp_path / f"ISBI2016_ISIC_{part}_Test_GroundTruth.csv").write_text("ISIC_0000003,1.0\n")
    assert _found(tmp_path, 2016) == {
        "ISIC_0000000.jpg": ("ISIC_0000000", 0, None),
        "ISIC_0000001.jpg": ("ISIC_0000001", 1, None),
        "ISIC_0000003.jpg": ("ISIC_0000003", 1, "test"),
    }


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(MedoodError, match=r"expected ISIC-2017_Training_Data and ISIC-2017_Training_Part3_GroundTruth\.csv, found other"):
        Isic(tmp_path).index()
    _pictures(tmp_path / "ISIC-2017_Training_Data", ["ISIC_1.jpg", "ISIC_9.jpg"])
    with pytest.raises(MedoodError, match=r"ISIC-2017_Training_Part3_GroundTruth\.csv is not"):
        Isic(tmp_path).index()
    table = tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv"
    table.write_text("image_id,melanoma\n" + "".join(f"ISIC_{n},0.0\n" for n in range(1, 6)))
    index = Isic(tmp_path).index()
    assert [e.group for e in index.entries] == ["ISIC_1"]
    assert [(p.path, p.code) for p in index.problems] == [
        ("ISIC-2017_Training_Data", "incomplete"),
        ("ISIC-2017_Training_Data/ISIC_9.jpg", "not_listed"),
    ]
    incomplete, unlisted = (p.message for p in index.problems)
    assert incomplete.startswith(f"4 of the 5 images in {table.name} are missing, such as ISIC_2, ISIC_3, ISIC_4;")
    assert unlisted == f"{table.name} has no row for this image; it is left out."
    table.write_text("image_id,melanoma\nISIC_1,0.0\nISIC_2,perhaps\n")
    with pytest.raises(MedoodError, match=r"GroundTruth\.csv:3: expected"):
        Isic(tmp_path).index()
    (tmp_path / "ISIC-2017_Test_v2_Part3_GroundTruth.csv").write_text("image_id,melanoma\nISIC_5,0\n")
    table.write_text("image_id,melanoma\nISIC_1,0.0\n")
    with pytest.raises(MedoodError, match="ISIC-2017_Test_v2_Data is not"):
        Isic(tmp_path).index()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("image_id,seborrheic_keratosis\nISIC_1,0.0\n", r"expected the columns image_id, melanoma, found image_id, seborrheic_keratosis;"),
        ("melanoma,image_id\n0.0,ISIC_1\n", "expected the columns image_id, melanoma"),
        ("image_id,melanoma\nISIC_1,0.0\nISIC_1,1.0\n", r":3: ISIC_1 stands in an earlier row"),
        ("image_id,melanoma\n,0.0\n", r":2: expected an image name"),
        ("image_id,age,melanoma\nISIC_1,50\n", r":2: expected an image name"),
        ("\xff", r"GroundTruth\.csv:1: not text in UTF-8"),
        ("image_id;melanoma\nISIC_1;2\nISIC_2;3\n", r":2: expected an image name.*\n.*:3: expected an image name"),
    ],
)
def test_mistakes_in_a_table_are_one_sentence(tmp_path: Path, table: str, says: str) -> None:
    _pictures(tmp_path / "ISIC-2017_Training_Data", ["ISIC_1.jpg"])
    (tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(MedoodError, match=says):
        Isic(tmp_path).index()


def test_the_column_of_melanoma_counts_wherever_it_stands(tmp_path: Path) -> None:
    _pictures(tmp_path / "ISIC-2017_Training_Data", ["ISIC_1.jpg", "ISIC_2.jpg"])
    table = tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv"
    table.write_text("image_id,seborrheic_keratosis,melanoma\nISIC_1,1.0,0.0\n\nISIC_2,0.0,1.0\n")
    assert {name: label for name, (_, label, _) in _found(tmp_path, 2017).items()} == {"ISIC_1.jpg": 0, "ISIC_2.jpg": 1}
