"""Commands on an archive: series after series, as if all of them lay in a folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from archive_stand_in import ArchiveStandIn, archive
from dicom_writer import write_series
from toy_run import toy_run_on_disk
from typer.testing import CliRunner

from medood.cli import app
from medood.core.errors import MedoodError
from medood.scoring import stream
from medood.tasks.images.from_archive import images_of
from medood.tasks.scoring.score import score_folder

SERIES = 4


@pytest.fixture
def pacs(tmp_path: Path):
    """A study of four series, the third without an image; the same files lie in the folder `images`, a sub-folder a series."""
    with archive() as stand_in:
        for number in range(1, SERIES + 1):
            array = np.random.default_rng(number).integers(0, 40 * number, (3, 32, 32)).astype(np.int16)
            name = f"1.2.3.{number}"
            place = tmp_path / "images" / name
            for path in write_series(place, array, np.diag([1.0, 1.0, 3.0, 1.0]), modality="MR", series=name, study="1.2.3"):
                dataset = pydicom.dcmread(path)
                if number == 3:
                    del dataset.PixelData
                    dataset.save_as(path)
                stand_in.add(path.rename(place / f"{dataset.SOPInstanceUID}.dcm"))
        yield stand_in


def address(pacs: ArchiveStandIn) -> Path:
    return Path(f"{pacs.url.replace('http://', 'dicomweb+http://')}#study=1.2.3")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_series_by_series_gives_the_scores_of_the_whole(pacs: ArchiveStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more than one series is on the disk while any is read."""
    run, on_disk = toy_run_on_disk(tmp_path / "run"), []
    score_folder(run, tmp_path / "images", tmp_path / "whole.csv", maps=tmp_path / "whole_maps", identifiers=tmp_path / "who.csv")
    read = stream.read_item

    def counted(source, pipeline, entry):
        on_disk.append(len(list(entry.files[0].parents[1].iterdir())))
        return read(source, pipeline, entry)

    monkeypatch.setattr(stream, "read_item", counted)
    with images_of(address(pacs)) as images:
        score_folder(run, images, tmp_path / "steps.csv", maps=tmp_path / "steps_maps", identifiers=tmp_path / "who2.csv")
        assert not list(images.folder.iterdir())
    assert on_disk
    assert set(on_disk) == {1}
    by_id = lambda row: (row["id"], row["slice"])  # noqa: E731
    assert sorted(rows(tmp_path / "steps.csv"), key=by_id) == sorted(rows(tmp_path / "whole.csv"), key=by_id)
    assert {path.name for path in (tmp_path / "steps_maps").iterdir()} == {path.name for path in (tmp_path / "whole_maps").iterdir()}
    assert (tmp_path / "who2.csv").read_text() == (tmp_path / "who.csv").read_text()
    assert json.loads((tmp_path / "steps.json").read_text())["complete"] is True


def test_an_archive_that_falls_silent_loses_nothing_that_was_scored(pacs: ArchiveStandIn, tmp_path: Path) -> None:
    """The same command goes on with --resume, in another folder for what it fetches."""
    run, out = toy_run_on_disk(tmp_path / "run"), tmp_path / "s.csv"
    pacs.on_request = lambda path: 503 if "/series/1.2.3.2/" in path else None
    with pytest.raises(MedoodError, match="503"), images_of(address(pacs)) as images:
        score_folder(run, images, out)
    assert {row["id"] for row in rows(out)} == {"1.2.3.1"}
    pacs.on_request = lambda path: None
    with images_of(address(pacs)) as images:
        score_folder(run, images, out, resume=True)
    assert {row["id"] for row in rows(out) if row["level"] == "series"} >= {"1.2.3.1", "1.2.3.2", "1.2.3.4"}
    assert len({(row["id"], row["slice"]) for row in rows(out)}) == len(rows(out))


def test_nothing_in_any_series_leaves_nothing_behind(tmp_path: Path) -> None:
    with archive() as pacs, pytest.raises(MedoodError, match="nothing of that study"), images_of(address(pacs)) as images:
        score_folder(toy_run_on_disk(tmp_path / "run"), images, tmp_path / "s.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_archive_is_looked_into_as_a_folder_is(pacs: ArchiveStandIn, tmp_path: Path) -> None:
    seen = [json.loads(CliRunner().invoke(app, ["inspect", str(place), "--json"]).stdout) for place in (address(pacs), tmp_path / "images")]
    assert seen[0] == seen[1]
    assert len(seen[0]["entries"]) == 3
    assert seen[0]["patients"] == 1
