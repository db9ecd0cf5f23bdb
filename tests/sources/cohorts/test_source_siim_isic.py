"""SIIM-ISIC 2020 in miniature: DICOM and JPEG, patients with many images, and incomplete downloads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_writer import SECRET, write_image
from PIL import Image as Picture

from medood.core.errors import InputError, MedoodError
from medood.data.split import split
from medood.recipe.loading import load_preparation, load_recipe
from medood.sources.cohorts.siim_isic import SiimIsic

_COLUMNS = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
_TABLE = (
    _COLUMNS
    + """ISIC_2637011,IP_7279968,male,45.0,head/neck,unknown,benign,0
ISIC_0015719,IP_3075186,female,45.0,upper extremity,unknown,benign,0
ISIC_0052212,IP_2842074,female,50.0,lower extremity,nevus,benign,0
ISIC_0068279,IP_7279968,male,,,melanoma,malignant,1
ISIC_0074268,IP_7279968,male,45.0,torso,nevus,benign,0
"""
)
_NAMES = ("ISIC_0015719", "ISIC_0052212", "ISIC_0068279", "ISIC_0074268", "ISIC_2637011")


def _skin() -> np.ndarray:
    """(16, 24, 3): pink, with a brown square in the middle, and the left edge blue."""
    pixels = np.full((16, 24, 3), (230, 160, 150), np.uint8)
    pixels[4:12, 8:16] = (90, 50, 30)
    pixels[:, :4] = (20, 20, 220)
    return pixels


def _dicom(root: Path, *names: str, syntax: str = "1.2.840.10008.1.2.4.50") -> None:
    for name in names:
        extra = {"BodyPartExamined": "TORSO", "BurnedInAnnotation": "NO"}
        write_image(root / "train" / f"{name}.dcm", _skin(), modality="XC", patient=SECRET, syntax=syntax, extra=extra)


def _jpeg(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Picture.fromarray(_skin()).save(folder / f"{name}.jpg", quality=95, subsampling=0)


@pytest.fixture
def download(tmp_path: Path) -> Path:
    _dicom(tmp_path, *_NAMES)
    (tmp_path / "train.csv").write_text(_TABLE)
    return tmp_path


def test_images_have_labels_and_patients_keep_together(download: Path) -> None:
    index = SiimIsic(download).index()
    assert index.problems == ()
    assert [e.id for e in index.entries] == [f"train/{name}.dcm" for name in _NAMES]
    assert [e.label for e in index.entries] == [0, 0, 1, 0, 0]
    groups = [e.group for e in index.entries]
    assert groups == ["patient-00002", "patient-00003", "patient-00001", "patient-00001", "patient-00001"]
    assert {e.origin.modality for e in index.entries} == {"XC"}
    assert not any(secret in str(e) for e in index.entries for secret in (SECRET, "IP_"))
    parts = split(index, load_recipe("siim_ae"))
    assert len(parts.train) + len(parts.held_out) == 4
    assert not {e.group for e in parts.train} & {e.group for e in parts.held_out}


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1"])
def test_dicom_in_ybr_and_rgb_has_the_colours_of_the_photograph(tmp_path: Path, syntax: str) -> None:
    _dicom(tmp_path, "ISIC_0068279", syntax=syntax)
    (tmp_path / "train.csv").write_text(_TABLE)
    source = SiimIsic(tmp_path)
    volume = source.read(source.index().entries[0])
    assert volume.image.shape == (3, 1, 16, 24)
    assert volume.labels.tolist() == [1]
    np.testing.assert_allclose(volume.image[:, 0, 8, 12], (90, 50, 30), atol=8)
    np.testing.assert_allclose(volume.image[:, 0, 1, 20], (230, 160, 150), atol=8)


def test_jpeg_is_read_from_both_layouts(download: Path) -> None:
    _jpeg(download / "jpeg" / "train", *_NAMES[:4])
    assert all(e.id.endswith(".dcm") for e in SiimIsic(download).index().entries)
    source = SiimIsic(download, format="jpeg")
    index = source.index()
    assert [e.id for e in index.entries] == [f"jpeg/train/{name}.jpg" for name in _NAMES[:4]]
    assert [e.group for e in index.entries][2:] == ["patient-00001"] * 2
    (problem,) = index.problems
    assert (problem.path, problem.code) == ("jpeg/train", "incomplete")
    volume = source.read(index.entries[2])
    assert volume.labels.tolist() == [1]
    np.testing.assert_allclose(volume.image[:, 0, 8, 12], (90, 50, 30), atol=8)


def test_the_archive_keeps_jpeg_in_train(tmp_path: Path) -> None:
    _jpeg(tmp_path / "train", *_NAMES)
    table = (
        _TABLE.replace("patient_id,", "patient_id,lesion_id,")
        .replace("IP_7279968,", "IP_7279968,IL_1,")
        .replace("IP_3075186,", "IP_3075186,,")
    )
    (tmp_path / "ISIC_2020_Training_GroundTruth_v2.csv").write_text(table.replace("IP_2842074,", "IP_2842074,,"))
    assert [e.label for e in SiimIsic(tmp_path).index().entries] == [0, 0, 1, 0, 0]
    with pytest.raises(MedoodError, match=r"expected train/\*\.dcm\. Unpack"):
        SiimIsic(tmp_path, format="dicom").index()


def test_what_is_in_one_place_only_is_a_problem(download: Path) -> None:
    _dicom(download, "ISIC_9999999")
    for name in _NAMES[:4]:
        (download / "train" / f"{name}.dcm").unlink()
    index = SiimIsic(download).index()
    assert [(e.id, e.group) for e in index.entries] == [("train/ISIC_2637011.dcm", "patient-00001")]
    assert [(p.path, p.code) for p in index.problems] == [("train", "incomplete"), ("train/ISIC_9999999.dcm", "not_listed")]
    message = index.problems[0].message
    assert message.startswith("4 of the 5 images in train.csv are missing, such as ISIC_0015719, ISIC_0052212, ISIC_0068279;")


def test_an_incomplete_download_is_explained_in_one_sentence(tmp_path: Path) -> None:
    _dicom(tmp_path, "ISIC_0015719")
    with pytest.raises(MedoodError, match=r"train\.csv missing: .* found train\."):
        SiimIsic(tmp_path).index()
    (tmp_path / "train" / "ISIC_0015719.dcm").unlink()
    (tmp_path / "train.csv").write_text(_TABLE)
    with pytest.raises(MedoodError, match=r"expected train/\*\.dcm or jpeg/train/\*\.jpg or train/\*\.jpg"):
        SiimIsic(tmp_path).index()
    with pytest.raises(InputError, match="no such folder"):
        SiimIsic(tmp_path / "elsewhere").index()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (_COLUMNS, r"train\.csv: the table has no rows"),
        (_TABLE.replace("benign_malignant", "label"), r"the column benign_malignant is missing; found image_name, patient_id"),
        (_TABLE.replace("nevus,benign,0", "nevus,unclear,0", 1), r"train\.csv:4: 'unclear' with target '0'"),
        (_TABLE.replace("malignant,1", "malignant,0", 1), r"train\.csv:5: 'malignant' with target '0'"),
        (_TABLE.replace("ISIC_0052212", ""), r"train\.csv:4: image_name is empty"),
        (_TABLE.replace("IP_2842074", ""), r"train\.csv:4: patient_id is empty"),
        (_TABLE.replace("ISIC_0052212", "ISIC_0015719"), r"train\.csv:4: ISIC_0015719 stands in an earlier row"),
        ("\xff", r"train\.csv:1: not text in UTF-8"),
        (_TABLE.replace("benign,0", "benign,2"), r"train\.csv:2: 'benign' with target '2'.*\n.*train\.csv:3: 'benign' with"),
    ],
)
def test_mistakes_in_the_table_name_their_line_and_no_patient(download: Path, table: str, says: str) -> None:
    (download / "train.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(MedoodError, match=says) as caught:
        SiimIsic(download).index()
    assert "IP_" not in str(caught.value)


def test_the_square_in_the_middle_is_what_is_seen(download: Path) -> None:
    from medood.transforms.pipeline import Pipeline

    source = SiimIsic(download)
    prepared = Pipeline(load_preparation("siim_isic_dicom")).prepare(source.read(source.index().entries[0])).images
    assert prepared.shape == (1, 3, 256, 256)
    np.testing.assert_allclose(prepared[0, :, 128, 128], np.array([90, 50, 30]) / 255, atol=0.04)
    assert prepared[0, 2].max() < 0.75, "the blue edge is cut away"
    brown = prepared[0, 0, 128] < 0.6
    assert brown.sum() == pytest.approx(128, abs=20), "8 of 16 rows and columns: nothing is squeezed"


def test_of_equal_images_the_first_one_named_is_taken(download: Path) -> None:
    everything = {e.files[0].stem: e.group for e in SiimIsic(download).index().entries}
    duplicates = download / "ISIC_2020_Training_Duplicates.csv"
    duplicates.write_text(
        "image_name_1,image_name_2\n"
        "ISIC_0074268,ISIC_0015719\nISIC_0015719,ISIC_0052212\n"  # a copy of a copy
        "ISIC_0068279,ISIC_2637011\nISIC_2637011,ISIC_0068279\n"  # both ways
        "ISIC_1111111,ISIC_2222222\n"
    )
    index = SiimIsic(download).index()
    assert {e.files[0].stem: e.group for e in index.entries} == {name: everything[name] for name in ("ISIC_0074268", "ISIC_0068279")}
    assert [(p.path, p.code) for p in index.problems] == [
        (f"train/{name}.dcm", "duplicate") for name in ("ISIC_0015719", "ISIC_0052212", "ISIC_2637011")
    ]
    assert "says that it is the same image as ISIC_0074268; it is left out." in index.problems[1].message
    for text, says in (
        ("image_name_1,b\n", "column image_name_2 is missing"),
        ("image_name_1,image_name_2\na,\n", r"csv:2: image_name_2"),
    ):
        duplicates.write_text(text)
        with pytest.raises(MedoodError, match=says):
            SiimIsic(download).index()


def test_a_duplicate_that_is_left_out_is_no_error_of_a_scoring() -> None:
    from medood.core.volume import Problem
    from medood.scoring.rows import problem_row

    assert problem_row(Problem("train/a.jpg", "duplicate", "It is left out."))["status"] == "skipped"
