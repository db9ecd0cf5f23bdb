"""Mixed folders, and the tables that say what lies in them."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medood.core.errors import InputError, MedoodError, TableError
from medood.core.volume import Index
from medood.sources.content import kind_of
from medood.sources.dicom.dicom import Dicom
from medood.sources.dicom.library import pydicom
from medood.sources.folder import Folder

_HEADER = "path,group,label,part,mask\n"


def _picture(path: Path, value: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.full((6, 8), value, np.uint8)).save(path)


def _volume(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0]) if affine is None else affine), path)


def _series(folder: Path, name: str, slices: int = 3) -> None:
    """An axial MR series of (6, 8) pixels of 1 mm, 2 mm apart, without file suffixes."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(slices):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[name, str(k)])
        dataset.StudyInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["study", name])
        dataset.SeriesInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["series", name])
        dataset.Modality, dataset.PatientID, dataset.InstanceNumber = "MR", name, k + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 2 * k], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 2
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 6, 8, 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        dataset.PixelData = np.full((6, 8), 100 + k, "<u2").tobytes()
        dataset.save_as(folder / f"{name}{k}", enforce_file_format=True)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    _picture(tmp_path / "pictures" / "a.png")
    _picture(tmp_path / "pictures" / "b.jpg.png")
    (tmp_path / "pictures" / "a.png").rename(tmp_path / "pictures" / "no_suffix")
    _volume(tmp_path / "patient1" / "flair.nii.gz", np.zeros((8, 6, 4), np.int16))
    _volume(tmp_path / "patient1" / "flair_seg.nii.gz", np.zeros((8, 6, 4), np.int16))
    _series(tmp_path / "scans" / "s1", "one")
    (tmp_path / "scans" / "notes.txt").write_text("notes")
    (tmp_path / "broken.png").write_text("broken")
    return tmp_path


def _listed(root: Path, rows: str) -> Index:
    (root / "table.csv").write_text(_HEADER + rows)
    return Folder(root, csv="table.csv").index()


def test_files_are_told_apart_by_their_content(mixed: Path) -> None:
    index = Folder(mixed).index()
    assert [(e.id, e.slices) for e in index.entries] == [
        ("patient1/flair.nii.gz", 4),
        ("pictures/b.jpg.png", 1),
        ("pictures/no_suffix", 1),
        ("scans/s1", 3),
    ]
    assert [(p.path, p.code) for p in index.problems] == [
        ("broken.png", "unreadable"),
        ("patient1/flair_seg.nii.gz", "mask_file"),
        ("scans/notes.txt", "not_an_image"),
    ]
    shapes = {e.id: Folder(mixed).read(e).image.shape for e in index.entries}
    assert shapes["scans/s1"] == (1, 3, 6, 8)
    assert shapes["patient1/flair.nii.gz"] == (1, 4, 6, 8)
    assert shapes["pictures/no_suffix"] == (1, 1, 6, 8)


def test_a_dicom_file_that_is_a_tiff_too_is_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(124) + b"DICM" + bytes(100))
    (tmp_path / "bare").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100")
    (tmp_path / "a.txt").write_text("a")
    assert [kind_of(tmp_path / name) for name in ("a.tif", "bare", "a.txt")] == ["dicom", "dicom", None]


def test_a_table_chooses_and_labels(mixed: Path) -> None:
    lesion = np.zeros((8, 6, 4), np.uint8)
    lesion[2, 3, 1] = 1
    _volume(mixed / "masks" / "flair.nii.gz", lesion)
    in_series = np.zeros((8, 6, 3), np.uint8)
    in_series[1:4, 2, 2] = 5
    _volume(mixed / "masks" / "series.nii", in_series)
    rows = (
        "patient1/flair.nii.gz,p1,1,test,masks/flair.nii.gz\n"
        "pictures/no_suffix,p2,0.0,train,\n"
        "./pictures\\b.jpg.png,p2,,train,\n"
        "scans/s1,p3,1,test,masks/series.nii\n"
    )
    index = _listed(mixed, rows)
    assert index.problems == ()
    assert [(e.id, e.group, e.label, e.part) for e in index.entries] == [
        ("patient1/flair.nii.gz", "p1", 1, "test"),
        ("pictures/b.jpg.png", "p2", None, "train"),
        ("pictures/no_suffix", "p2", 0, "train"),
        ("scans/s1", "p3", 1, "test"),
    ]
    volumes = {e.id: Folder(mixed, csv="table.csv").read(e) for e in index.entries}
    assert {name: volume.labels.tolist() for name, volume in volumes.items()} == {
        "patient1/flair.nii.gz": [0, 1, 0, 0],
        "pictures/b.jpg.png": [-1],
        "pictures/no_suffix": [0],
        "scans/s1": [0, 0, 1],
    }
    np.testing.assert_array_equal(volumes["patient1/flair.nii.gz"].mask, lesion.T)
    np.testing.assert_array_equal(volumes["scans/s1"].mask, in_series.T > 0)


def test_labels_of_whole_volumes(mixed: Path) -> None:
    """Normal slices for a normal volume; nobody knows which slices of an anomalous volume without a mask are anomalous."""
    for label, slices in (("0", [0] * 4), ("1", [-1] * 4), ("", [-1] * 4)):
        (entry,) = _listed(mixed, f"patient1/flair.nii.gz,p,{label},,\n").entries
        assert Folder(mixed, csv="table.csv").read(entry).labels.tolist() == slices
    (entry,) = _listed(mixed, "pictures/no_suffix,p,1,,\n").entries
    assert Folder(mixed, csv="table.csv").read(entry).labels.tolist() == [1]


@pytest.mark.parametrize("name", ["scans/s1", "scans", "scans/s1/one0"])
def test_a_series_goes_by_its_folder_or_one_of_its_files(mixed: Path, name: str) -> None:
    assert [(e.id, e.slices) for e in _listed(mixed, f"{name},p,0,,\n").entries] == [("scans/s1", 3)]


def test_a_series_goes_by_its_id_where_a_folder_holds_several(mixed: Path) -> None:
    _series(mixed / "scans" / "s1", "two", slices=2)
    first, second = (e.id for e in Folder(mixed).index().entries if e.id.startswith("scans"))
    assert [e.id for e in _listed(mixed, f"{second},p,0,,\n").entries] == [second]
    assert [e.id for e in _listed(mixed, "scans/s1,p,0,,\n").entries] == [first, second]
    with pytest.raises(MedoodError, match=r"table\.csv:3: .* earlier row"):
        _listed(mixed, f"scans/s1,p,0,,\n{second},q,0,,\n")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,p,2,,\n", r"table\.csv:2: label '2'"),
        ("a.png,p,0,,\nb.png,q,normal,,\n", r"table\.csv:3: label 'normal'"),
        ("a.png,p,0,training,\n", r"table\.csv:2: part 'training'"),
        ("a.png,,0,,\n", r"table\.csv:2: path and group"),
        ("a.png,p,0,,\n\nb.png,q,0,,\n./a.png,r,0,,\n", r"table\.csv:5: a\.png stands in line 2"),
        ("a.png,p,0,train,\nb.png,p,1,test,\n", r"table\.csv:3: a group must not be in two parts.* train in line 2 and test here"),
        ("../a.png,p,0,,\n", r"table\.csv:2: .*without `\.\.`"),
        ("/etc/a.png,p,0,,\n", r"table\.csv:2: "),
        ("C:\\a.png,p,0,,\n", r"table\.csv:2: "),
        ("a.png,p,0,,../m.png\n", r"table\.csv:2: "),
        ("nothing/here,p,0,,\n", r"table\.csv:2: nothing/here is not below"),
        ("x" * 300 + ".png,p,0,,\n", r"table\.csv:2: x+\.png is not below"),
        ("a.png,p,1,,m.png\n", r"table\.csv:2: the mask m\.png is not below"),
        (".,p,1,,\n", r"table\.csv:2: .* folder without a DICOM series; name each of its files"),
        ("a.png,p,1,,,,x\n", r"table\.csv:2: 7 cells where the header has 5"),
        ('a.png,p,1,,"m.png\n', r"table\.csv:2: cannot be read as a row"),
        ("", "no rows"),
    ],
)
def test_mistakes_of_a_table_are_named_with_their_line(tmp_path: Path, rows: str, message: str) -> None:
    _picture(tmp_path / "a.png")
    _picture(tmp_path / "b.png")
    with pytest.raises(MedoodError, match=message):
        _listed(tmp_path, rows)


def test_tables_that_are_none(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    for text, message in (
        (b"path:group:label:part\na.png:p:0:\n", "columns path, group, label, part are missing; found path:group:label:part"),
        (b"path,group,label\na.png,p,0\n", "the column part is missing; found path, group, label"),
        (b"path,group,label,part,Path\na.png,p,0,,\n", "the column path is there twice"),
        (b"\xff\xfe\x00", "not text in UTF-8 or UTF-16"),
        ("path,group,label,part\n\xe9.png,p,0,\n".encode("latin-1"), r"table\.csv:2: not text in UTF-8"),
        (b"", "found nothing"),
    ):
        (tmp_path / "table.csv").write_bytes(text)
        with pytest.raises(MedoodError, match=message):
            Folder(tmp_path, csv="table.csv").index()
    with pytest.raises(MedoodError, match=r"absent\.csv: there is no such table; put it below the folder"):
        Folder(tmp_path, csv="absent.csv").index()


def test_all_mistakes_of_a_table_are_told_at_once(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    rows = "a.png,p,2,training,\nb.png,,0,,\n../c.png,q,0,,\na.png,p,0,,\na.png,p,1,test,\n"
    with pytest.raises(TableError) as caught:
        _listed(tmp_path, rows)
    assert [problem.split("table.csv:")[1].split(":")[0] for problem in caught.value.problems] == ["2", "2", "3", "4", "6", "6"]
    _picture(tmp_path / "sub" / "b.png")
    with pytest.raises(TableError) as caught:
        _listed(tmp_path, "".join(f"x{n}.png,p{n},0,,\n" for n in range(30)) + "a.png,q,1,,m.png\nsub,r,0,,\n")
    assert len(caught.value.problems) == 32
    assert str(caught.value).endswith("... and 12 more mistakes.")


def _links(tmp_path: Path, name: str, target: Path) -> None:
    try:
        (tmp_path / name).symlink_to(target)
    except OSError:
        pytest.skip("this system does not let this user make links")


@pytest.mark.parametrize("name", ["../table.csv", "{outside}/table.csv", "a/../../table.csv", "..\\table.csv", "link.csv"])
def test_a_table_stays_below_the_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    _picture(root / "a.png")
    (tmp_path / "table.csv").write_text(_HEADER + "a.png,p,0,,\n")
    _links(root, "link.csv", tmp_path / "table.csv")
    with pytest.raises(MedoodError, match=r"expected its path below|leads out of"):
        Folder(root, csv=name.format(outside=tmp_path)).index()
    (root / "sub").mkdir()
    (root / "sub" / "table.csv").write_text(_HEADER + "a.png,p,0,,\n")
    _links(root, "inside.csv", root / "sub" / "table.csv")
    assert [len(Folder(root, csv=name).index().entries) for name in ("sub/table.csv", "./sub/table.csv", "inside.csv")] == [1, 1, 1]


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_accents_may_be_composed_or_not(tmp_path: Path, listed: str, stored: str) -> None:
    """macOS stores and lists names with accents taken apart, other systems do not."""
    name = "Schädel/Müller é.png"
    _picture(tmp_path / unicodedata.normalize(stored, name))
    Picture.fromarray(np.eye(6, 8, dtype=np.uint8)).save(tmp_path / unicodedata.normalize(stored, "Läsion.png"))
    row = unicodedata.normalize(listed, f"{name},p,1,,Läsion.png\n")
    (entry,) = _listed(tmp_path, row).entries
    assert Folder(tmp_path).read(entry).mask.sum() == 6


def test_a_group_is_not_repeated_in_messages(tmp_path: Path) -> None:
    """It may be a patient's own number."""
    _picture(tmp_path / "a.png")
    _picture(tmp_path / "b.png")
    with pytest.raises(MedoodError) as caught:
        _listed(tmp_path, "a.png,Doe^Jane 4711,0,train,\nb.png,Doe^Jane 4711,0,val,\n")
    assert "Doe" not in str(caught.value)


def test_a_table_as_spreadsheets_save_it(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    (tmp_path / "table.csv").write_bytes("\ufeffPath, Group ,LABEL,part,age\r\na.png, p ,1,test,50\r\n,,,,\r\n".encode())
    (entry,) = Folder(tmp_path, csv="table.csv").index().entries
    assert (entry.group, entry.label, entry.part) == ("p", 1, "test")


def test_unreadable_rows_are_problems(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("broken")
    (tmp_path / "c.txt").write_text("text")
    index = _listed(tmp_path, "a.png,p,0,,\nb.png,q,0,,\nc.txt,r,0,,\n")
    assert [e.id for e in index.entries] == ["a.png"]
    assert [(p.path, p.code) for p in index.problems] == [("b.png", "unreadable"), ("c.txt", "not_an_image")]


def test_what_no_row_names_is_no_problem(mixed: Path) -> None:
    for folder in ("s1", "s2"):
        _series(mixed / "scans" / folder, "broken", slices=1)
        whole = (mixed / "scans" / folder / "broken0").read_bytes()
        (mixed / "scans" / folder / "broken0").write_bytes(whole[:-5])
    index = _listed(mixed, "scans/s1,p,0,,\n")
    assert [e.id for e in index.entries] == ["scans/s1"]
    assert [p.path for p in index.problems] == ["scans/s1/broken0"]


def test_masks_must_lie_on_the_grid_of_the_image(tmp_path: Path) -> None:
    _volume(tmp_path / "a.nii", np.zeros((8, 6, 4), np.int16))
    _volume(tmp_path / "turned_seg.nii", np.zeros((8, 6, 4), np.int16), np.diag([1.0, -1.0, 2.0, 1.0]))
    _picture(tmp_path / "b.png")
    Picture.fromarray(np.eye(6, 8, dtype=np.uint8) * 255).save(tmp_path / "m.png")
    Picture.fromarray(np.eye(8, 6, dtype=np.uint8)).save(tmp_path / "turned.png")
    index = _listed(tmp_path, "a.nii,p,1,,turned_seg.nii\nb.png,q,1,,turned.png\n")
    for entry in index.entries:
        with pytest.raises(InputError, match="different grids"):
            Folder(tmp_path).read(entry)
    (entry,) = _listed(tmp_path, "b.png,q,1,,m.png\n").entries
    np.testing.assert_array_equal(Folder(tmp_path).read(entry).mask, np.eye(6, 8)[None])


def test_a_file_has_one_problem_whoever_finds_it(tmp_path: Path) -> None:
    _series(tmp_path / "scan", "one")
    (tmp_path / "scan" / "dead.dcm").symlink_to("nowhere")
    (tmp_path / "scan" / "__init__.py").touch()
    (tmp_path / "scan" / "empty.dcm").touch()
    index = Folder(tmp_path).index()
    assert [entry.id for entry in index.entries] == ["scan"]
    assert [problem.path for problem in index.problems] == ["scan/__init__.py", "scan/dead.dcm", "scan/empty.dcm"]


def test_a_row_that_names_a_file_of_a_refused_series_gets_its_problem(tmp_path: Path) -> None:
    _series(tmp_path / "scan", "one", slices=5)
    names = sorted(path.name for path in (tmp_path / "scan").iterdir())
    (tmp_path / "scan" / names[2]).unlink()
    (tmp_path / "t.csv").write_text(f"{_HEADER}scan/{names[0]},p,0,test,\n")
    index = Folder(tmp_path, csv="t.csv").index()
    assert index.entries == ()
    assert [(problem.path, problem.code) for problem in index.problems] == [("scan", "nonuniform_spacing")]


def _close(monkeypatch: pytest.MonkeyPatch, *closed: Path) -> None:
    """Pretend that files lie in a folder that may not be entered; to the user who runs the tests it may be open whatever its mode."""
    asked = Path.stat

    def stat(self: Path, **how: Any) -> os.stat_result:
        if self in closed and how.get("follow_symlinks", True):
            raise PermissionError(errno.EACCES, "Permission denied")
        return asked(self, **how)

    monkeypatch.setattr(Path, "stat", stat)


def test_a_link_into_a_closed_folder_is_the_problem_of_the_link_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _picture(tmp_path / "a.png")
    _series(tmp_path / "scan", "one")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    _close(monkeypatch, tmp_path / "link.png")
    index = Folder(tmp_path).index()
    assert [entry.id for entry in index.entries] == ["a.png", "scan"]
    said = "It cannot be opened (PermissionError); check its permissions."
    assert [(p.path, p.code, p.message) for p in index.problems] == [("link.png", "unreadable", said)]


def test_a_link_into_a_closed_folder_is_no_end_of_a_dicom_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _series(tmp_path / "scan", "one")
    (tmp_path / "link").symlink_to(tmp_path / "scan" / "one0")
    _close(monkeypatch, tmp_path / "link")
    index = Dicom(tmp_path).index()
    assert [entry.id for entry in index.entries] == ["scan"]
    said = "The file cannot be opened (PermissionError). Check its permissions."
    assert [(p.path, p.code, p.message) for p in index.problems] == [("link", "unreadable", said)]


def test_rows_of_a_table_that_name_what_is_closed_are_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the image it is the index's, of the mask that of the reading."""
    _picture(tmp_path / "a.png")
    _close(monkeypatch, tmp_path / "closed" / "b.png", tmp_path / "closed" / "m.png")
    index = _listed(tmp_path, "a.png,p,1,,closed/m.png\nclosed/b.png,q,0,,\n")
    assert [(p.path, p.code) for p in index.problems] == [("closed/b.png", "unreadable")]
    (entry,) = index.entries
    with pytest.raises(InputError, match=r"the mask is missing or cannot be opened"):
        Folder(tmp_path).read(entry)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is closed to this user, or not by modes")
def test_closed_folders_are_problems_of_their_own(tmp_path: Path) -> None:
    _picture(tmp_path / "closed" / "a.png")
    _picture(tmp_path / "root" / "b.png")
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "closed" / "a.png")
    (tmp_path / "root" / "inside").mkdir()
    closed = tmp_path / "closed", tmp_path / "root" / "inside"
    for folder in closed:
        folder.chmod(0)
    try:
        index = Folder(tmp_path / "root").index()
    finally:
        for folder in closed:
            folder.chmod(0o700)
    assert [entry.id for entry in index.entries] == ["b.png"]
    assert [(p.path, p.code) for p in index.problems] == [("inside", "unreadable"), ("link.png", "unreadable")]
