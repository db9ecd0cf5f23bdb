"""CelebA in miniature: what the tables say of each face, and tables that say something odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from medood.core.errors import MedoodError, TableError
from medood.data.split import split
from medood.recipe.loading import load_recipe
from medood.sources.cohorts.celeba import Celeba

MALE = {"000001": -1, "000002": 1, "000003": -1, "000004": 1, "000005": -1}
PARTS = {"000001": 0, "000002": 0, "000003": 1, "000004": 2, "000005": 2}
PEOPLE = {"000001": 77, "000002": 8, "000003": 77, "000004": 9, "000005": 3}


def download(root: Path, ending: str = ".txt") -> Path:
    (root / "img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(MALE):
        Picture.fromarray(np.full((6, 4, 3), 40 * number, np.uint8)).save(root / "img_align_celeba" / f"{name}.jpg")
    rows = [f"{name}.jpg  1 {value:2d} -1" for name, value in MALE.items()]
    text = "\n".join([str(len(MALE)), "Young Male Smiling ", *rows]) + "\n"
    parts = "".join(f"{name}.jpg {part}\n" for name, part in PARTS.items())
    if ending == ".csv":
        text = "image_id,Young,Male,Smiling\n" + "".join(f"{name}.jpg,1,{value},-1\n" for name, value in MALE.items())
        parts = "image_id,partition\n" + "".join(f"{name}.jpg,{part}\n" for name, part in PARTS.items())
    (root / f"list_attr_celeba{ending}").write_text(text)
    (root / f"list_eval_partition{ending}").write_text(parts)
    return root


@pytest.mark.parametrize("ending", [".txt", ".csv"])
def test_faces_without_the_attribute_are_normal(tmp_path: Path, ending: str) -> None:
    source = Celeba(download(tmp_path, ending), normal=False)
    index = source.index()
    assert index.problems == ()
    assert [(each.id, each.label, each.part, each.class_name) for each in index.entries] == [
        ("img_align_celeba/000001.jpg", 0, None, "not Male"),
        ("img_align_celeba/000002.jpg", 1, None, "Male"),
        ("img_align_celeba/000003.jpg", 0, None, "not Male"),
        ("img_align_celeba/000004.jpg", 1, "test", "Male"),
        ("img_align_celeba/000005.jpg", 0, "test", "not Male"),
    ]
    volume = source.read(index.entries[3])
    assert volume.image.shape == (3, 1, 6, 4)
    assert volume.image.mean() == pytest.approx(120, abs=3)
    assert volume.labels.tolist() == [1]


def test_faces_with_the_attribute_are_normal_or_nobody_knows(tmp_path: Path) -> None:
    download(tmp_path)
    assert [each.label for each in Celeba(tmp_path, normal=True).index().entries] == [1, 0, 1, 0, 1]
    assert {each.label for each in Celeba(tmp_path).index().entries} == {None}
    assert {each.class_name for each in Celeba(tmp_path, attribute="Young").index().entries} == {"Young"}


def test_photographs_of_a_person_keep_together_without_their_number(tmp_path: Path) -> None:
    download(tmp_path)
    index = Celeba(tmp_path, normal=False).index()
    assert len({each.group for each in index.entries}) == 5
    (tmp_path / "identity_CelebA.txt").write_text("".join(f"{name}.jpg {person}\n" for name, person in PEOPLE.items()))
    index = Celeba(tmp_path, normal=False).index()
    groups = [each.group for each in index.entries]
    assert groups[0] == groups[2]
    assert len(set(groups)) == 4
    assert not any("77" in group for group in groups)
    with pytest.raises(MedoodError, match="cannot be split"):  # all normal ones outside the test are of one person
        split(index, load_recipe("isic_vae"))


def test_an_image_without_a_row_and_a_row_without_an_image(tmp_path: Path) -> None:
    download(tmp_path)
    (tmp_path / "img_align_celeba" / "000002.jpg").rename(tmp_path / "img_align_celeba" / "000099.jpg")
    index = Celeba(tmp_path).index()
    assert len(index.entries) == 4
    assert [(each.code, each.path) for each in index.problems] == [
        ("incomplete", "img_align_celeba"),
        ("not_listed", "img_align_celeba/000099.jpg"),
    ]


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("list_attr_celeba.txt", "000002.jpg  1  1 -1", "000002.jpg  1  7 -1", r"celeba\.txt:4: expected an image and 3 times 1 or -1"),
        ("list_attr_celeba.txt", "000002.jpg  1  1 -1", "000002.jpg  1", r"celeba\.txt:4: expected"),
        ("list_attr_celeba.txt", "000002.jpg", "000001.jpg", r"celeba\.txt:4: 000001.jpg stands in an earlier row"),
        ("list_attr_celeba.txt", "Male", "Female", "no column is called 'Male'; did you mean Female?"),
        ("list_eval_partition.txt", "000003.jpg 1", "000003.jpg 5", r"partition\.txt:3: expected an image and 0 or 1 or 2"),
        ("list_eval_partition.txt", "000003.jpg 1\n", "", "1 images of list_attr_celeba.txt have no row, such as 000003"),
    ],
)
def test_a_damaged_table_is_said_with_its_line(tmp_path: Path, name: str, old: str, new: str, words: str) -> None:
    download(tmp_path)
    file = tmp_path / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(TableError, match=words):
        Celeba(tmp_path).index()


@pytest.mark.parametrize("missing", ["img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    download(tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(MedoodError, match=missing):
        Celeba(tmp_path).index()
    (tmp_path / "list_attr_celeba.txt").write_text("")
    if missing != "list_attr_celeba.txt":
        return
    with pytest.raises(TableError, match="there are none"):
        Celeba(tmp_path).index()
