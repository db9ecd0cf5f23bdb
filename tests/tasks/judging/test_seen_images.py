"""Images that a run has seen, from training to evaluation: found again at scoring whatever was done to them, and not judged by."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medood.core.errors import RunError
from medood.recipe.loading import load_recipe
from medood.tasks.judging.evaluate import evaluate
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe

RECIPE = """
summary: a small autoencoder on pictures
source: {name: folder, root: nowhere}
transforms: {name: grey_image, size: [32, 32]}
detector: {name: autoencoder, width: 4, latent: 4}
training: {epochs: 1, tensorboard: false}
split: {held_out: 0.4}
calibration: {false_alarm_rate: 0.1}
"""


def picture(seed: int) -> Image.Image:
    detail = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(96, 96)), 4)
    return Image.fromarray(np.clip(128 + 40 * detail / detail.std(), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on n00.png to n29.png, and a folder `new` with three of those ids, eight copies of others, and new pictures."""
    folder = tmp_path_factory.mktemp("seen")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    for name in ("old", "new"):
        (folder / name).mkdir()
    for number in range(30):
        picture(number).save(folder / "old" / f"n{number:02d}.png")
    for number in range(3):
        picture(number).save(folder / "new" / f"n{number:02d}.png")
    for number in range(3, 11):
        picture(number).resize((192, 192)).save(folder / "new" / f"copy{number}.jpg", quality=60)
    for number in range(100, 125):
        picture(number).save(folder / "new" / f"x{number}.png")
    train_recipe(load_recipe(folder / "recipe.yaml"), folder / "run", data=folder / "old", device="cpu", cache=folder / "cache")
    return folder


def marks(scores: Path) -> dict[str, str]:
    with scores.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["seen_in_training"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def scores(place: Path) -> Path:
    score_folder(place / "run", place / "new", place / "scores.csv", device="cpu")
    return place / "scores.csv"


def test_what_was_seen_is_marked_by_id_or_as_a_near_copy(place: Path, scores: Path) -> None:
    found = marks(scores)
    assert len(found) == 36
    assert {name for name, mark in found.items() if mark == "id"} == {f"n{n:02d}.png" for n in range(3)}
    assert {name for name, mark in found.items() if mark == "near_copy"} == {f"copy{n}.jpg" for n in range(3, 11)}
    facts = json.loads(scores.with_suffix(".json").read_text(encoding="utf-8"))
    assert (facts["seen_in_training"], facts["near_copies"]) == (3, 8)


def test_the_number_of_near_copies_is_said_and_survives_a_resume(
    place: Path, scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = scores.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "scores.csv").write_text("".join(lines[:6]), encoding="utf-8")
    (tmp_path / "scores.json").write_text(scores.with_suffix(".json").read_text(encoding="utf-8"), encoding="utf-8")
    outcome = score_folder(place / "run", place / "new", tmp_path / "scores.csv", device="cpu", resume=True)
    assert outcome.near_copies == 8
    assert marks(tmp_path / "scores.csv") == marks(scores)
    assert "8 series or images are near-copies of images that run was trained or calibrated on" in capsys.readouterr().err


def test_the_evaluation_ranks_what_is_new_by_itself(place: Path, scores: Path, tmp_path: Path) -> None:
    labels = "".join(f"{name},{int(name.startswith('x') and int(name[1:4]) >= 110)}\n" for name in marks(scores))
    (tmp_path / "labels.csv").write_text(f"id,label\n{labels}", encoding="utf-8")
    report = evaluate(scores, tmp_path / "labels.csv", out=tmp_path / "out", bootstraps=20)
    (level,) = report.levels
    assert (level.normal, level.anomalous) == (21, 15)
    assert (level.seen.normal, level.seen.anomalous) == (11, 0)
    assert level.seen.score.auroc.value != level.score.auroc.value
    assert any("52% of the normal rows (11) are images that the run was trained or calibrated on" in text for text in report.warnings)


def test_a_run_whose_hashes_are_gone_says_so(place: Path, tmp_path: Path) -> None:
    content = (place / "run" / "hashes.npz").read_bytes()
    try:
        (place / "run" / "hashes.npz").write_bytes(content[:-1])
        with pytest.raises(RunError, match=r"hashes\.npz was altered"):
            score_folder(place / "run", place / "new", tmp_path / "scores.csv", device="cpu")
    finally:
        (place / "run" / "hashes.npz").write_bytes(content)


def test_a_near_copy_of_a_volume_is_found_whichever_way_it_is_cut(tmp_path: Path) -> None:
    def write(folder: str, name: str, seed: int) -> None:
        (tmp_path / folder).mkdir(exist_ok=True)
        detail = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 24, 24)), 2)
        nib.save(nib.Nifti1Image((100 * detail / detail.std() + 400).astype(np.int16), np.eye(4)), tmp_path / folder / f"{name}.nii.gz")

    for number in range(6):
        write("old", f"n{number}", number)
    write("new", "copy", 2)
    write("new", "other", 50)
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    train_recipe(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "run", data=tmp_path / "old", device="cpu", cache=tmp_path / "cache")
    for plane in (None, "coronal"):
        out = tmp_path / f"{plane}.csv"
        score_folder(tmp_path / "run", tmp_path / "new", out, device="cpu", plane=plane)
        assert marks(out) == {"copy.nii.gz": "near_copy", "other.nii.gz": ""}
