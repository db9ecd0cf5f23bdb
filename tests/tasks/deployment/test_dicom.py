"""DICOM objects of a scoring, made during it and after it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from dicom_writer import write_series
from export_phantoms import GEOMETRIES
from PIL import Image
from toy_run import toy_run

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.scoring.dicom_folder import DicomFolder
from medood.scoring.map_folder import MapFolder
from medood.scoring.rows import Scorer
from medood.scoring.stream import Outcome, score_index
from medood.scoring.table import ScoreTable
from medood.sources.folder import Folder
from medood.tasks.deployment.dicom import dicom


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A series with a bright part, and a picture that is no DICOM."""
    array = np.full(GEOMETRIES["axial"].shape, 40, np.uint8)
    array[5:8, 4:12, 4:12] = 250
    folder = tmp_path / "images"
    write_series(folder / "scan", array, GEOMETRIES["axial"], extra={"FrameOfReferenceUID": "1.2.3"})
    Image.fromarray(np.full((24, 24), 90, np.uint8)).save(folder / "picture.png")
    return folder


def score(root: Path, folder: Path, *, resume: bool = False) -> tuple[Outcome, list[dict[str, str]]]:
    run, source, outcome = toy_run(folder), Folder(root), Outcome()
    place = {"name": "folder", "root": str(root), "parameters": {}}
    table = ScoreTable(folder / "scores.csv", [], resume=resume)
    maps = MapFolder(folder / "maps", run, place, resume=resume)
    objects = DicomFolder(folder / "objects", run, resume=resume)
    score_index(Scorer(run, torch.device("cpu"), None), source, source.index(), table, maps, outcome, Console(), objects)
    table.close()
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        return outcome, list(csv.DictReader(file))


def uids(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): pydicom.dcmread(file).SOPInstanceUID for file in folder.rglob("*.dcm")}


def test_objects_made_while_scoring_are_those_made_of_the_maps(root: Path, tmp_path: Path) -> None:
    outcome, rows = score(root, tmp_path)
    written = dicom(tmp_path / "maps", tmp_path / "after", only=["scan"])
    assert (outcome.without_object, written.entries, written.failed) == (1, 1, 0)
    assert uids(tmp_path / "objects") == uids(tmp_path / "after")
    assert {Path(name).stem for name in uids(tmp_path / "after")} == {"report", "segmentation", "picture", "map", "key_objects"}
    (line,) = map(json.loads, (tmp_path / "objects/objects.jsonl").read_text().splitlines())
    assert (line["id"], line["left_out"]) == ("scan", {})
    assert not any("no_dicom_objects" in row["issues"] for row in rows)
    first, second = (pydicom.dcmread(tmp_path / name / "scan/segmentation.dcm").PixelData for name in ("objects", "after"))
    assert first == second


def test_a_scoring_that_goes_on_keeps_what_it_had_and_makes_the_rest(root: Path, tmp_path: Path) -> None:
    score(root, tmp_path)
    table = (tmp_path / "scores.csv").read_text().splitlines(keepends=True)
    kept = uids(tmp_path / "objects")
    (tmp_path / "scores.csv").write_text("".join(line for line in table if ",scan," not in line))
    score(root, tmp_path, resume=True)
    assert uids(tmp_path / "objects") == kept


def test_a_series_that_nothing_can_refer_to_says_so_in_its_rows(root: Path, tmp_path: Path) -> None:
    for file in (root / "scan").iterdir():
        dataset = pydicom.dcmread(file)
        del dataset.StudyInstanceUID
        dataset.save_as(file)
    outcome, rows = score(root, tmp_path)
    assert outcome.without_object == 2
    assert all("no_dicom_objects:no_sop_uid" in row["issues"] for row in rows if row["id"] == "scan")


def test_maps_without_their_images_and_wrong_kinds_are_refused(root: Path, tmp_path: Path) -> None:
    score(root, tmp_path)
    with pytest.raises(MedoodError, match="--kinds takes report"):
        dicom(tmp_path / "maps", tmp_path / "out", kinds=["reports"])
    with pytest.raises(MedoodError, match="no DICOM objects of any"):
        dicom(tmp_path / "maps", tmp_path / "out", only=["picture.png"])
    root.rename(tmp_path / "moved")
    with pytest.raises(MedoodError, match="say where they are now with --images"):
        dicom(tmp_path / "maps", tmp_path / "out")
    assert dicom(tmp_path / "maps", tmp_path / "out", images=tmp_path / "moved", kinds=["report"]).entries == 1
    header = json.loads((tmp_path / "maps/maps.json").read_text())
    (tmp_path / "maps/maps.json").write_text(json.dumps({key: value for key, value in header.items() if key != "scored_by"}))
    with pytest.raises(MedoodError, match="does not say how its run decides"):
        dicom(tmp_path / "maps", tmp_path / "out", images=tmp_path / "moved")
