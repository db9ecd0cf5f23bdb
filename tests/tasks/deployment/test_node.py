"""A run behind a node: DICOM in, DICOM objects out, and what the queue says."""

from __future__ import annotations

import csv
import re
import sqlite3
from pathlib import Path
from typing import get_args

import numpy as np
import pydicom
import pytest
from archive_stand_in import archive
from dicom_writer import write_image, write_series
from node_trials import SECRET, at_work, configuration, until
from toy_run import toy_run_on_disk
from typer.testing import CliRunner

from medood.cli import app
from medood.core.errors import InputError, MedoodError
from medood.dicom_objects.kinds import KINDS
from medood.node.archives.answers import keep_answers
from medood.node.config import Kind, load_config
from medood.tasks.deployment.node import serve, study_scorer
from medood.tasks.deployment.node_queue import retry


@pytest.fixture
def run(tmp_path: Path):
    return toy_run_on_disk(tmp_path / "run")


def series(folder: Path, number: int = 1) -> list[Path]:
    array = np.random.default_rng(number).integers(0, 200, (4, 32, 32)).astype(np.int16)
    array[2, 8:16, 8:16] = 255
    extra = {"FrameOfReferenceUID": f"1.2.3.{number}.9"}
    return write_series(
        folder / f"{number}", array, np.diag([1.0, 1.0, 3.0, 1.0]), modality="MR", series=f"1.2.3.{number}", study="1.2.3", extra=extra
    )


def config_file(folder: Path, text: str = "") -> Path:
    path = folder / "node.yaml"
    path.write_text(
        f"folder: queue\nreceive: {{calling: [SCANNER]}}\nstow: {{url: 'http://127.0.0.1:9/dicom-web'}}\n{text}", encoding="utf-8"
    )
    return path


def test_a_series_comes_back_as_the_objects_that_were_asked_for(tmp_path: Path, run) -> None:
    files = series(tmp_path / "in")
    kinds = ["report", "segmentation", "picture"]
    with archive() as pacs:
        config = configuration(tmp_path / "node", stow={"url": pacs.url}, objects=kinds)
        with at_work(config, study_scorer(run, config.objects, "cpu")) as node:
            association = _mr_association(node.receiver.port)
            assert {association.send_c_store(path).Status for path in files} == {0}
            association.release()
            until(lambda: len(pacs.stored) == 3)
        for result in pacs.results:
            assert result.StudyInstanceUID == "1.2.3"
            assert result.PatientName == SECRET, "it belongs to the patient"
            assert "RESEARCH" in result.SeriesDescription
    assert len({result.SOPClassUID for result in pacs.results}) == 3


def _mr_association(port: int):
    from pynetdicom import AE

    entity = AE("SCANNER")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.4")
    return keep_answers(entity.associate("127.0.0.1", port, ae_title="MEDOOD"))


def test_only_the_series_that_are_asked_for_are_scored(tmp_path: Path, run) -> None:
    series(tmp_path / "in", 1)
    series(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    made = study_scorer(run, ["report"], "cpu")(tmp_path / "in", ["1.2.3.2"], tmp_path / "out")
    assert len(made.files) == 1
    with (tmp_path / "out" / "scores.csv").open(newline="", encoding="utf-8") as file:
        assert {row["series_uid"] for row in csv.DictReader(file)} == {"1.2.3.2"}


def test_a_study_without_pictures_is_said_to_have_none(tmp_path: Path, run) -> None:
    path = write_image(tmp_path / "in" / "x.dcm", np.zeros((8, 8), np.int16), modality="CT", series="1.2.3.1", study="1.2.3")
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="nothing of it could be scored: no_image"):
        study_scorer(run, ["report"], "cpu")(tmp_path / "in", ["1.2.3.1"], tmp_path / "out")
    (tmp_path / "out2").mkdir()
    with pytest.raises(InputError, match="there is no image in it"):
        study_scorer(run, ["report"], "cpu")(tmp_path / "in", ["9.9"], tmp_path / "out2")


def test_the_kinds_of_a_configuration_are_those_that_can_be_made() -> None:
    assert set(get_args(Kind)) == set(KINDS)


def test_the_queue_is_shown_and_failures_are_taken_up_again(tmp_path: Path) -> None:
    path = config_file(tmp_path, "quiet_s: 0.05\n")
    runner = CliRunner()
    result = runner.invoke(app, ["node", str(tmp_path), "--config", str(path), "--status"])
    assert isinstance(result.exception, MedoodError) or "no queue" in result.output

    def score(*_: object) -> None:
        raise InputError("nothing in it")

    config = load_config(path)
    assert config.receive
    config = config.model_copy(update={"receive": config.receive.model_copy(update={"port": configuration(tmp_path).receive.port})})
    config = config.model_copy(update={"limits": config.limits.model_copy(update={"free_gb": 0.0})})
    with at_work(config, score) as node:
        association = _mr_association(node.receiver.port)
        for file in series(tmp_path / "in"):
            association.send_c_store(file)
        association.release()

        def failed() -> bool:
            with sqlite3.connect(tmp_path / "queue" / "queue.sqlite") as file:
                return file.execute("SELECT COUNT(*) FROM studies WHERE state = 'failed'").fetchone()[0] == 1

        until(failed)
    result = runner.invoke(app, ["node", str(tmp_path), "--config", str(path), "--status"])
    assert result.exit_code == 3
    assert "1 failed" in result.output
    assert re.search(r"1\.2\.3\b", result.output)
    assert SECRET not in result.output
    assert retry(path) == 1
    result = runner.invoke(app, ["node", str(tmp_path), "--config", str(path), "--status"])
    assert result.exit_code == 0
    assert "1 received" in result.output


def test_a_node_without_its_libraries_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medood.node.network.find_spec", lambda name: None)
    with pytest.raises(MedoodError, match=r"pip install medood\[net\]"):
        serve(tmp_path, config_file(tmp_path))
