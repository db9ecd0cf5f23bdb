"""A blind-spot study from the command line, on phantoms."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

import medood
from medood.cli import app
from medood.core.errors import MedoodError
from medood.tasks.judging.blind_spot import blind_spot


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve subjects in `images/nifti`, and a run that was made from nine of them."""
    folder = tmp_path_factory.mktemp("blind")
    medood.write_phantoms(folder / "images", subjects=12, size=32, slices=16)
    subjects = sorted(path.name for path in (folder / "images" / "nifti").iterdir() if path.is_dir())
    changes = {
        "transforms.size": [32, 32],
        "transforms.field_of_view": [192.0, 192.0],
        "source.exclude": subjects[-3:],
        "source.min_lesion": 6,
        "split.held_out": 0.45,
        "training.epochs": 2,
        "training.tensorboard": False,
        "detector.width": 4,
        "detector.latent": 8,
    }
    medood.train("brats_blind_spot", data=folder / "images" / "nifti", out=folder / "run", changes=changes)
    return folder


def test_a_study_from_the_command_line(place: Path, tmp_path: Path) -> None:
    root, out = place / "images" / "nifti", tmp_path / "out"
    shift = f"as it is={{name: brats, root: {root}, modality: flair}}"
    arguments = ["blind-spot", str(place / "run"), str(root), "--source", "brats", "--out", str(out), "--shift", shift, "--seed", "3"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for words in ("Decision of the run", "Rule of the detector", "out of domain", "shift against lesion", "fails on", "upside down"):
        assert words in result.output
    assert {path.name for path in out.iterdir()} == {
        "cases.csv",
        *(f"{name}.{ending}" for name in ("outcomes", "auroc", "failures") for ending in ("txt", "md", "tex", "csv")),
    }
    rows = list(csv.DictReader((out / "cases.csv").open(encoding="utf-8")))
    patients = {row["group"] for row in rows if row["name"] != "as it is"}
    assert len(patients) <= 3, "the nine that the run was made from are left out"
    counts = Counter(row["name"] for row in rows)
    assert counts["noise"] == counts["normal"] == counts["generated lesion"]
    assert {row["rule"] for row in rows} <= {"normal", "anomalous", "out_of_domain"}
    assert {"score", "rec", "kl", "elbo", "entropy", "gradient", "dose", "dose_svm", "1 - shift_p"} <= set(rows[0])


@pytest.mark.parametrize(
    "shift", ["noise", "noise=x", "mine=", "mine={root: x}", "mine={name: brats", "mine={name: nothing, root: x}", "a=no"]
)
def test_a_shift_that_cannot_be_is_refused_before_anything_is_scored(shift: str, place: Path, tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match=r"\.$"):
        blind_spot(place / "run", place / "images" / "nifti", tmp_path / "out", source="brats", shifts=[shift])
    assert not (tmp_path / "out").exists()
