"""The labels file that cohorts write and evaluation reads."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from medood.cli import app
from medood.core.errors import MedoodError
from medood.evaluation.label_file import write_labels
from medood.evaluation.labelled_scores import Key, read_labels
from medood.export.maps import read_map
from medood.sources.cohorts.brats import Brats
from medood.sources.folder import Folder
from medood.sources.phantoms.phantom import Phantom
from medood.tasks.images.labels import labels_of
from medood.tasks.images.phantoms import write_phantoms


def _picture(path: Path) -> None:
    Picture.fromarray(np.full((6, 8), 9, np.uint8)).save(path)


def _table(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)]


def test_pictures_have_a_row_each(tmp_path: Path) -> None:
    for name in ("a.png", "b,c.png", "d.png", "m.png"):
        _picture(tmp_path / name)
    (tmp_path / "broken.png").write_text("broken")
    (tmp_path / "table.csv").write_text('path,group,label,part,mask\na.png,p,0,,\n"b,c.png",q,1,,m.png\nd.png,r,,,\nbroken.png,s,1,,\n')
    problems = write_labels(Folder(tmp_path, csv="table.csv"), tmp_path / "out" / "labels.csv")
    assert _table(tmp_path / "out" / "labels.csv") == [
        ("id", "slice", "label", "group", "mask"),
        ("a.png", "", "0", "p", ""),
        ("b,c.png", "", "1", "q", "../m.png"),
        ("d.png", "", "", "r", ""),
    ]
    assert [(p.path, p.code) for p in problems] == [("broken.png", "unreadable")]


def test_volumes_have_a_row_per_slice_and_one_for_the_whole(tmp_path: Path) -> None:
    source = Phantom(subjects=2, size=32, slices=8)
    write_labels(source, tmp_path / "labels.csv")
    rows = _table(tmp_path / "labels.csv")[1:]
    normal, anomalous = source.index().entries
    assert rows[:9] == [("brain_0000", "", "0", "brain_0000", "")] + [("brain_0000", str(k), "0", "brain_0000", "") for k in range(8)]
    assert rows[9] == ("brain_0001", "", "1", "brain_0001", "masks/brain_0001.nrrd")
    expected = ["" if label < 0 else str(label) for label in source.read(anomalous).labels]
    assert [row[2] for row in rows[10:]] == expected
    assert set(expected) >= {"0", "1"}
    assert normal.id == rows[0][0]


def test_masks_that_no_file_holds_are_written_beside_the_labels(tmp_path: Path) -> None:
    source = Phantom(subjects=2, size=32, slices=8)
    write_labels(source, tmp_path / "out" / "labels.csv")
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["brain_0001.nrrd"], "a normal brain has no lesion"
    volume = source.read(source.index().entries[1])
    mask, geometry = read_map(tmp_path / "out" / "masks" / "brain_0001.nrrd")
    assert mask.any()
    np.testing.assert_array_equal(mask, volume.mask)
    np.testing.assert_allclose(geometry.affine, volume.geometry.affine)
    labels = read_labels(tmp_path / "out" / "labels.csv")
    assert labels.mask_of_slice("brain_0001", 3) == tmp_path / "out" / "masks" / "brain_0001.nrrd"
    assert labels.mask_of_slice("brain_0000", 3) is None


def test_evaluation_reads_what_was_written(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "out", subjects=2, seed=1, size=64, slices=24)
    labels = read_labels(tmp_path / "out" / "labels.csv")
    source = Brats(tmp_path / "out" / "nifti", min_lesion=round(50 / 9))
    for entry in source.index().entries:
        volume = source.read(entry)
        known = [labels.rows[Key(entry.id, k)] for k in range(24)]
        assert [-1 if label is None else label for label in known] == volume.labels.tolist()
        assert labels.rows[Key(entry.id, None)] == int(volume.mask.any())
        assert labels.mask_of_slice(entry.id, 3).resolve() == entry.mask.resolve()
        assert labels.groups[entry.id] == entry.group
    (series,) = Folder(tmp_path / "out" / "dicom").index().entries
    assert labels.rows[Key(series.id, None)] == 1
    assert sum(labels.rows[Key(series.id, k)] == 1 for k in range(24)) > 1
    assert labels.groups[series.id] == series.group
    mask = labels.mask_of_slice(series.id, 0)
    assert mask is not None
    assert mask.is_file()


def test_only_what_labels_need_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Phantom(subjects=2, size=32, slices=8)
    read, asked = source.read, []
    monkeypatch.setattr(source, "read", lambda entry: asked.append(entry.id) or read(entry))
    write_labels(source, tmp_path / "labels.csv")
    assert asked == ["brain_0001"]


def test_a_source_without_labels_writes_nothing(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    with pytest.raises(MedoodError, match="knows no labels"):
        write_labels(Folder(tmp_path), tmp_path / "labels.csv")
    assert not (tmp_path / "labels.csv").exists()
    assert not list(tmp_path.glob(".part-*"))


def test_files_that_are_there_are_kept_unless_replacing_them_is_asked_for(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    (tmp_path / "table.csv").write_text("path,group,label,part\na.png,p,0,\n")
    (tmp_path / "folder.csv").mkdir()
    out, image = tmp_path / "labels.csv", (tmp_path / "a.png").read_bytes()
    out.write_text("mine")
    for file, overwrite, words in (
        (out, False, "is already there. Replace it with --overwrite"),
        (tmp_path / "a.png", True, "must be a file that ends in .csv"),
        (tmp_path / "folder.csv", True, "is a folder"),
    ):
        with pytest.raises(MedoodError, match=words):
            labels_of("folder", tmp_path, file, table="table.csv", overwrite=overwrite)
    assert out.read_text() == "mine"
    assert (tmp_path / "a.png").read_bytes() == image
    labels_of("folder", tmp_path, out, table="table.csv", overwrite=True)
    assert _table(out)[1:] == [("a.png", "", "0", "p", "")]


def test_the_command_replaces_labels_when_that_is_asked_for(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    (tmp_path / "table.csv").write_text("path,group,label,part\na.png,p,0,\n")
    command = ["labels", "folder", str(tmp_path), "--table", "table.csv", "--out", str(tmp_path / "labels.csv")]
    codes = [CliRunner().invoke(app, [*command, *more]).exit_code for more in ([], [], ["--overwrite"])]
    assert codes == [0, 2, 0]
