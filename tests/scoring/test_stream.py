"""No entry ends a scoring: whatever a reader, the transforms, the network or a map raises becomes its row, and the others are scored."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from toy_run import LEVELS, SIZE, Brightness, ones, toy_run

from medood.core.console import Console
from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry
from medood.core.volume import Entry, Index, Problem, Volume
from medood.export.map_list import read_array, read_lines
from medood.scoring import map_folder
from medood.scoring.map_folder import MapFolder
from medood.scoring.rows import Scorer
from medood.scoring.stream import Outcome, score_index
from medood.scoring.table import ScoreTable
from medood.sources.folder import Folder

SECRET = "Doe^Jane"
NAMES = [f"{number}.png" for number in range(8)]
BAD = "3.png"


class Panic(BaseException):
    """As Rust libraries raise."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Eight grey pictures of rising brightness; BAD alone has a white pixel."""
    root = tmp_path / "images"
    root.mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.full((SIZE, SIZE), 40 + 10 * number, np.uint8)
        pixels[0, 0] = 255 if name == BAD else pixels[0, 1]
        Image.fromarray(pixels).save(root / name)
    return root


class Place:
    """A scoring of `images` with a toy run, and what it wrote."""

    def __init__(self, images: Path, folder: Path, *, maps: bool = True, **options: object) -> None:
        self.run, self.folder = toy_run(folder, **options), folder
        self.scorer = Scorer(self.run, torch.device("cpu"), None)
        self.source, self.maps = Folder(images), folder / "maps" if maps else None
        self.outcome = Outcome()

    @property
    def detector(self) -> Brightness:
        return self.run.detector

    def score(self, *, resume: bool = False, index: Index | None = None, form: str = "auto") -> dict[str, dict[str, str]]:
        table = ScoreTable(self.folder / "scores.csv", [], resume=resume)
        maps = MapFolder(self.maps, self.run, {}, resume=resume, form=form) if self.maps else None
        try:
            score_index(self.scorer, self.source, index or self.source.index(), table, maps, self.outcome, Console())
        finally:
            table.close()
        with (self.folder / "scores.csv").open(newline="", encoding="utf-8") as file:
            return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture
def place(images: Path, tmp_path: Path) -> Place:
    return Place(images, tmp_path)


def check(rows: dict[str, dict[str, str]], reason: str, bad: str = BAD) -> None:
    """Every image has its row; all but one are scored right, and that one says why it is not."""
    assert list(rows) == NAMES
    for number, name in enumerate(NAMES):
        if name != bad:
            assert rows[name]["status"] == "ok"
            assert float(rows[name]["score"]) == pytest.approx((40 + 10 * number) / 255, abs=1e-3)
    assert (rows[bad]["level"], rows[bad]["status"], rows[bad]["score"], rows[bad]["decision"]) == ("file", "error", "", "")
    assert reason in rows[bad]["reason"]
    assert rows[bad]["reason"].startswith(f"{rows[bad]['issues']}: ")
    assert SECRET not in json.dumps(rows)


ERRORS = [RuntimeError(SECRET), KeyError(SECRET), Panic(SECRET), MemoryError(), RecursionError(), InputError("broken", "broken")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("stage", ["read", "prepare", "network"])
def test_whatever_is_raised_on_one_entry_is_its_row(stage: str, error: BaseException, place: Place, monkeypatch) -> None:
    def on_bad(method: Callable) -> Callable:
        def changed(given: Entry | Volume):
            if getattr(given, "entry", given).id == BAD:
                raise error
            return method(given)

        return changed

    def trouble(batch: Tensor) -> None:
        if ones(batch).any():
            raise error

    if stage == "read":
        monkeypatch.setattr(place.source, "read", on_bad(place.source.read))
    elif stage == "prepare":
        monkeypatch.setattr(place.scorer.pipeline, "prepare", on_bad(place.scorer.pipeline.prepare))
    else:
        place.detector.trouble = trouble
    rows = place.score()
    words = "memory" if isinstance(error, MemoryError) else "broken" if isinstance(error, InputError) else type(error).__name__
    check(rows, words)
    assert {line["id"] for line in read_lines(place.maps)} == {*NAMES} - {BAD}
    assert (place.outcome.scored, place.outcome.rows) == (7, 8)
    before = (place.folder / "scores.csv").read_bytes()
    place.score(resume=True)
    assert (place.folder / "scores.csv").read_bytes() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), MedoodError("the disk is full")], ids=lambda e: type(e).__name__)
def test_what_a_person_or_the_machine_stops_stops_and_is_continued(error: BaseException, place: Place) -> None:
    def trouble(batch: Tensor) -> None:
        if ones(batch).any():
            raise error

    place.detector.trouble = trouble
    place.scorer.run.recipe.scoring.batch_size = 1
    with pytest.raises(type(error)):
        place.score()
    place.detector.trouble = lambda batch: None
    rows = place.score(resume=True)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {line["id"] for line in read_lines(place.maps)} == {*NAMES}


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
@pytest.mark.parametrize("most", [1, 2])
def test_short_memory_means_smaller_batches(error: Exception, most: int, place: Place) -> None:
    def trouble(batch: Tensor) -> None:
        if len(batch) > most:
            raise error

    place.detector.trouble = trouble
    rows = place.score()
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert [float(rows[name]["score"]) for name in NAMES] == sorted(float(row["score"]) for row in rows.values())
    assert len(read_lines(place.maps)) == 8


def test_a_volume_is_scored_in_smaller_batches_too_and_then_ever_after(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.tif", "b.tif"):
        pages = [Image.fromarray(np.full((SIZE, SIZE), 50 + page, np.uint8)) for page in range(8)]
        pages[0].save(tmp_path / "images" / name, save_all=True, append_images=pages[1:])
    place = Place(tmp_path / "images", tmp_path, maps=False, batch_size=8)

    def trouble(batch: Tensor) -> None:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    place.detector.trouble = trouble
    rows = place.score()
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert place.detector.batches == [8, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2]  # the second volume goes well at once


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_problem_of_its_image_alone(value: float, place: Place, monkeypatch) -> None:
    plain = place.detector._score

    def score(batch: Tensor):
        scores = plain(batch)
        scores.image[ones(batch)] = value
        return scores

    monkeypatch.setattr(place.detector, "_score", score)
    check(place.score(), "not_finite_score")


def test_a_run_that_can_score_nothing_stops_instead_of_blaming_every_image(place: Place) -> None:
    def trouble(batch: Tensor) -> None:
        raise RuntimeError("the device is lost")

    place.detector.trouble = trouble
    with pytest.raises(MedoodError, match=r"cannot score any image on cpu.*RuntimeError.*--resume"):
        place.score()
    assert (place.folder / "scores.csv").read_text().count("\n") == 1
    place.detector.trouble = lambda batch: None
    assert {row["status"] for row in place.score(resume=True).values()} == {"ok"}


@pytest.mark.parametrize("error", [ValueError(SECRET), MemoryError(), Panic(SECRET)], ids=lambda error: type(error).__name__)
def test_a_map_that_cannot_be_written_leaves_the_scores(error: BaseException, place: Place, monkeypatch) -> None:
    class Files(map_folder.MapFiles):
        def write(self, kind: str, array: np.ndarray, usual: tuple[float, float]) -> str:
            if self.name == "3":
                raise error
            return super().write(kind, array, usual)

    monkeypatch.setattr(map_folder, "MapFiles", Files)
    rows = place.score()
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert rows[BAD]["reason"].startswith("no map of it: ")
    assert rows[BAD]["issues"].startswith("no_map:")
    assert SECRET not in json.dumps(rows)
    assert place.outcome.without_map == 1
    assert {line["id"] for line in read_lines(place.maps)} == {*NAMES} - {BAD}


def test_a_full_disk_is_not_the_fault_of_an_image(place: Place, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise MedoodError("Cannot write: the disk is full.")

    monkeypatch.setattr(map_folder.MapFiles, "write", full)
    with pytest.raises(MedoodError, match="disk is full"):
        place.score()


def test_an_input_unlike_the_training_is_called_neither_normal_nor_anomalous(images: Path, place: Place) -> None:
    Image.fromarray(np.full((SIZE, SIZE), 250, np.uint8)).save(images / "white.png")
    Image.fromarray(np.full((SIZE, SIZE), 170, np.uint8)).save(images / "bright.png")
    rows = place.score()
    assert rows["white.png"]["decision"] == "out_of_domain"
    assert "grey values" in rows["white.png"]["domain_reason"]
    assert float(rows["white.png"]["p_value"]) == pytest.approx(1 / (len(LEVELS) + 1))
    assert (rows["bright.png"]["decision"], rows["0.png"]["decision"]) == ("anomalous", "normal")
    assert (rows["white.png"]["in_domain"], rows["bright.png"]["in_domain"]) == ("no", "yes")
    assert float(rows["white.png"]["domain_p"]) <= 0.01 < float(rows["bright.png"]["domain_p"])
    assert place.outcome.unlike == 1
    verdicts = {line["id"]: line["verdict"] for line in read_lines(place.maps)}
    assert verdicts["white.png"]["decision"] == "out_of_domain"
    assert verdicts["bright.png"] == {
        "score": float(rows["bright.png"]["score"]),
        "p_value": float(rows["bright.png"]["p_value"]),
        "decision": "anomalous",
        "domain_reason": "",
        "issues": "",
        "examined": 1.0,
    }


def test_rows_name_the_issues_of_headers_and_of_pixels(images: Path, place: Place) -> None:
    Image.fromarray(np.full((SIZE, SIZE, 2), 90, np.uint8), "LA").save(images / "alpha.png")
    assert {name: row["issues"] for name, row in place.score().items() if row["issues"]} == {"alpha.png": "alpha_dropped"}


def test_a_refused_series_keeps_its_uids_and_lists_its_files(place: Place) -> None:
    index = place.source.index()
    files = tuple(f"series/{number:04d}.dcm" for number in range(2000))
    problems = (
        Problem("series", "nonuniform_spacing", "a slice is missing.", "1.2.3", "1.2.3.4", files[:3]),
        Problem("long", "mixed_geometry", "slices differ.", "1.2.4", "1.2.4.4", files),
    )
    rows = place.score(index=Index(index.root, index.entries, problems))
    row = rows["series"]
    assert (row["study_uid"], row["series_uid"], row["issues"]) == ("1.2.3", "1.2.3.4", "nonuniform_spacing")
    assert row["files"] == "series/0000.dcm;series/0001.dcm;series/0002.dcm"
    listed = rows["long"]["files"].split(";")
    assert len(rows["long"]["files"]) < 32_767  # what a spreadsheet cell holds
    assert listed[:-1] == list(files[: len(listed) - 1])
    assert listed[-1] == f"... and {2001 - len(listed)} more"


def test_a_file_has_one_row_whoever_complains_of_it(place: Place) -> None:
    index = place.source.index()
    problems = tuple(
        Problem(name, *said)
        for name, *said in (
            ("x.py", "not_an_image", "it is none."),
            ("x.py", "unreadable", "it is empty."),
            ("y.py", "unreadable", "it is empty."),
        )
    )
    rows = place.score(index=Index(index.root, index.entries[:1], problems))
    assert list(rows) == ["x.py", "y.py", "0.png"]
    assert [row["status"] for row in rows.values()] == ["skipped", "error", "ok"]
    assert (place.outcome.rows, len((place.folder / "scores.csv").read_text().splitlines())) == (3, 4)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_strange_names_and_neighbours(images: Path, place: Place) -> None:
    (images / "[/x]").mkdir(parents=True)
    names = {"[/x]/a.png", "a\rb.png", "a\nb.png", "=a.png"}
    for name in names:
        (images / "0.png").rename(images / name) if name == "=a.png" else shutil.copy(images / "1.png", images / name)
    (images / "__init__.py").touch()
    (images / "dead.png").symlink_to("nowhere")
    rows = place.score()
    assert {name for name, row in rows.items() if row["status"] == "ok"} == {*NAMES[1:], *names - {"=a.png"}, "'=a.png"}
    assert {name: row["status"] for name, row in rows.items() if row["status"] != "ok"} == {"__init__.py": "skipped", "dead.png": "skipped"}
    assert len({path.name.casefold() for path in place.maps.glob("*_map.png")}) == len(NAMES) - 1 + len(names)
    before = (place.folder / "scores.csv").read_bytes()
    again = place.score(resume=True)
    assert (place.folder / "scores.csv").read_bytes() == before
    assert again == rows


class Tilted:
    """A source of one sheared volume."""

    def index(self) -> Index:
        return Index(Path("nowhere"), (Entry("tilted", (), "p", slices=4, bytes_per_image=1.0, issues=("gantry_tilt:15.0",)),))

    def read(self, entry: Entry) -> Volume:
        affine = np.diag([-1.0, -1.0, 4.0, 1.0])
        affine[1, 2] = 4 * np.tan(np.radians(15))
        image = np.full((1, 4, SIZE, SIZE), 90, np.float32)
        return Volume(entry, image, Geometry(affine, (4, SIZE, SIZE)), np.zeros(4, np.int8), issues=("lossy", "gantry_tilt:15.0"))


@pytest.mark.parametrize(("form", "more"), [("nii.gz", ";sheared_map_as_nrrd"), ("auto", ""), ("nrrd", "")])
def test_a_sheared_map_is_nrrd_and_says_so_where_nifti_was_asked_for(form: str, more: str, place: Place) -> None:
    place.source = Tilted()
    rows = place.score(form=form)
    assert rows["tilted"]["issues"] == f"gantry_tilt:15.0;lossy{more}"
    (line,) = read_lines(place.maps)
    assert line["map"] == "tilted_map.nrrd"
    _, geometry = read_array(place.maps, line)
    np.testing.assert_allclose(geometry.affine, Tilted().read(Entry("", (), "")).geometry.affine)


def test_values_beyond_the_stored_range_are_kept(images: Path, place: Place, monkeypatch) -> None:
    plain = place.detector._score

    def hot(batch: Tensor):
        scores = plain(batch)
        scores.map[ones(batch)] *= 100
        return scores

    monkeypatch.setattr(place.detector, "_score", hot)
    place.score()
    lines = {line["id"]: line for line in read_lines(place.maps)}
    stored = json.loads((place.maps / "maps.json").read_text())["stored"]
    assert lines["0.png"]["ranges"]["map"] == [stored["low"], stored["high"]] == [0.0, pytest.approx(3.6)]
    array, _ = read_array(place.maps, lines[BAD])
    assert array.max() == pytest.approx(100, rel=1e-4)
    assert array[0, 5, 5] == pytest.approx(100 * 70 / 255, abs=1e-2)


def test_nothing_is_hot_outside_the_field_of_view_even_where_maps_are_negative(images: Path, tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir()
    Image.fromarray(np.full((SIZE, 2 * SIZE), 80, np.uint8)).save(tmp_path / "wide" / "w.png")
    place = Place(tmp_path / "wide", tmp_path, fit="crop")
    place.run.calibration["image"]["map_scale"] = {"low": -3.0, "high": -1.0, "threshold": -3.0}
    (row,) = place.score().values()
    (line,) = read_lines(place.maps)
    array, _ = read_array(place.maps, line)
    assert line["box"] == [[0, 1], [0, SIZE], [SIZE // 2, SIZE // 2 + SIZE]]
    assert np.allclose(array[..., : SIZE // 2], -3)
    assert np.allclose(array[..., SIZE // 2 : -SIZE // 2], 80 / 255, atol=1e-2)
    assert float(row["examined"]) == 0.5
    assert json.loads((place.maps / "maps.json").read_text())["outside"] == -3.0


def test_a_new_scoring_takes_the_maps_of_the_old_one_away(images: Path, place: Place) -> None:
    place.score()
    assert len(list(place.maps.glob("*_map.png"))) == 8
    (place.maps / "mine.txt").write_text("kept")
    (images / "0.png").rename(images / "renamed.png")
    place.score()
    assert {path.name for path in place.maps.glob("*_map.png")} == {"renamed_map.png", *(f"{n}_map.png" for n in range(1, 8))}
    assert (place.maps / "mine.txt").exists()
