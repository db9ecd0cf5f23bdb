"""Ensembles of one recipe and of trained runs, from pictures to scores."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import medood
from medood.core.errors import MedoodError, RecipeError, RunError
from medood.recipe.loading import resolve
from medood.recipe.recipe import Recipe
from medood.recipe.run import load_run
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.check import check
from medood.tasks.training.train import train_recipe

GREYS = {"name": "grey_statistics", "size": [32, 32], "layers": [4]}
DISTANCE = {"name": "mahalanobis", "features": GREYS}
CODER = {"name": "autoencoder", "width": 2, "latent": 2, "epochs": 1}


def recipe(detector: dict[str, Any], **changes: Any) -> Recipe:
    values = {
        "source": {"name": "folder", "root": "nowhere"},
        "transforms": {"name": "grey_image", "size": [32, 32]},
        "detector": detector,
        "training": {"tensorboard": False},
        "split": {"held_out": 0.5},
        "calibration": {"false_alarm_rate": 0.2},
    }
    return resolve(values | changes, {}, "test")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images`, and runs of both detectors on them in `distance` and `coder`."""
    folder, random = tmp_path_factory.mktemp("ensembles"), np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(28):
        Image.fromarray((random.random((32, 32)) * 255).astype(np.uint8)).save(folder / "images" / f"{number}.png")
    train(folder, "distance", recipe({"name": "mahalanobis"}, features=GREYS))
    train(folder, "coder", recipe(CODER))
    return folder


def train(place: Path, out: str, made: Recipe, **options: Any) -> Path:
    options = {"device": "cpu", "cache": place / "cache", "progress": False, "data": place / "images"} | options
    return train_recipe(made, place / out, **options)


def scored(run: Path, place: Path) -> list[dict[str, str]]:
    score_folder(run, place / "images", place / "scores.csv", device="cpu", overwrite=True)
    with (place / "scores.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["level"] == "image"]


def of_runs(*runs: Path, **parameters: Any) -> dict[str, Any]:
    return {"name": "ensemble", "runs": [str(run) for run in runs], **parameters}


def test_members_of_one_recipe_are_those_that_are_trained_alone(place: Path) -> None:
    run = train(place, "members", recipe({"name": "ensemble", "members": [DISTANCE, CODER]}))
    rows, alone = scored(run, place), scored(place / "distance", place)
    assert [float(row["part_mahalanobis"]) for row in rows] == pytest.approx([float(row["score"]) for row in alone], rel=1e-4)
    assert {"part_mahalanobis", "part_autoencoder"} <= set(rows[0])
    held_out = len(load_run(run).calibration["image"]["scores"])
    p_values = [float(row["p_value"]) for row in rows]
    assert min(p_values) >= 1 / (held_out + 1)


def test_an_ensemble_of_runs_stands_alone(place: Path) -> None:
    for name in ("distance", "coder"):
        shutil.copytree(place / name, place / f"{name}_copy")
    copies = place / "distance_copy", place / "coder_copy"
    run = train(place, "joined", recipe(of_runs(*copies, join="maximum")))
    before = scored(run, place)
    for copy in copies:
        shutil.rmtree(copy)
    assert scored(run, place) == before
    parts = {"distance": "part_mahalanobis", "coder": "part_autoencoder"}
    for name, part in parts.items():
        assert [row[part] for row in before] == [row["score"] for row in scored(place / name, place)]
    loaded = load_run(run)
    members = [load_run(place / name).detector.state_dict() for name in ("distance", "coder")]
    for member, weights in zip(loaded.detector.members, members, strict=True):
        assert all(torch.equal(member.state_dict()[key], value) for key, value in weights.items())
    assert [member["name"] for member in loaded.recipe.detector["members"]] == ["mahalanobis", "autoencoder"]


def test_runs_of_the_same_detector_go_by_the_names_of_their_folders(place: Path) -> None:
    other = train(place, "other coder", recipe({**CODER, "latent": 3}))
    run = train(place, "coders", recipe(of_runs(place / "coder", other)))
    assert {"part_coder", "part_other_coder"} <= set(scored(run, place)[0])


def test_a_finished_ensemble_of_runs_has_nothing_to_go_on_with(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = recipe(of_runs(place / "distance", place / "coder"))
    run = train(place, "twice", made)
    before = (run / "manifest.json").read_bytes()
    assert train(place, "twice", made, resume=True) == run
    assert "is finished" in capsys.readouterr().err
    assert (run / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transforms": {"name": "grey_image", "size": [64, 64]}}, r"trained with other transforms .*\(size\)"),
        ({"transforms": {"name": "grey_image", "size": [32, 32], "steps": [{"scale_range": {"low": 0, "high": 255}}]}}, r"\(steps\)"),
        ({"split": {"held_out": 0.5, "seed": 1}}, "on other images than this recipe names"),
    ],
)
def test_runs_of_other_images_are_refused_before_training(place: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(MedoodError, match=words) as caught:
        train(place, "refused", recipe(of_runs(place / "distance", place / "coder"), **changes))
    assert str(place / "distance") in str(caught.value)
    assert str(caught.value).count(". ") == 0
    assert not (place / "refused" / "run.json").exists()


def test_an_image_more_or_another_picture_under_the_same_name_is_another_image(place: Path, tmp_path: Path) -> None:
    made = recipe(of_runs(place / "distance", place / "coder"))
    shutil.copytree(place / "images", tmp_path / "images")
    train(place, "moved", made, data=tmp_path / "images")  # the same pictures elsewhere
    Image.fromarray((np.random.default_rng(9).random((32, 32)) * 255).astype(np.uint8)).save(tmp_path / "images" / "3.png")
    with pytest.raises(MedoodError, match="other images"):
        train(place, "refused", made, data=tmp_path / "images")
    shutil.copy(place / "images" / "3.png", tmp_path / "images" / "3.png")
    shutil.copy(place / "images" / "3.png", tmp_path / "images" / "one more.png")
    with pytest.raises(MedoodError, match="other images"):
        train(place, "refused", made, data=tmp_path / "images")


def test_what_is_no_run_and_an_ensemble_are_refused_as_members(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        train(place, "refused", recipe(of_runs(place / "distance", place / "nothing")))
    ensemble = train(place, "inner", recipe({"name": "ensemble", "members": [DISTANCE, {"name": "intensity"}]}))
    with pytest.raises(MedoodError, match="is an ensemble itself"):
        train(place, "refused", recipe(of_runs(place / "distance", ensemble)))
    shutil.copytree(place / "coder", tmp_path / "altered")
    content = json.loads((tmp_path / "altered" / "run.json").read_text(encoding="utf-8"))
    content["recipe"]["detector"]["latent"] = 3
    (tmp_path / "altered" / "run.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RunError, match="altered"):
        train(place, "refused", recipe(of_runs(place / "distance", tmp_path / "altered")))


def test_checking_a_recipe_of_runs_looks_at_them(place: Path, tmp_path: Path) -> None:
    def text(*runs: Path) -> Path:
        listed = json.dumps([str(run) for run in runs])
        path = tmp_path / "recipe.yaml"
        detector = f"detector: {{name: ensemble, runs: {listed}}}"
        path.write_text(f"source: {{name: folder}}\ntransforms: {{name: grey_image, size: [32, 32]}}\n{detector}\n", encoding="utf-8")
        return path

    check(text(place / "distance", place / "coder"))
    with pytest.raises(RecipeError, match="no run folder"):
        check(text(place / "distance", place / "nothing"))


def test_too_few_held_out_images_are_known_before_training(place: Path) -> None:
    made = recipe({"name": "ensemble", "members": [DISTANCE, CODER]}, split={"held_out": 0.2})
    with pytest.raises(MedoodError, match="at least 10 held-out normal images, found"):
        train(place, "few", made)


def test_the_joined_map_of_a_volume_is_pooled_as_any_other(tmp_path: Path) -> None:
    pooling = {"smooth_mm": 5.0, "erode_mm": 6.0, "reduction": "top_mm2", "top_mm2": 150.0}
    values = {
        "source": {"name": "phantom", "subjects": 6, "lesions": 0.0, "size": 32, "slices": 12},
        "transforms": {"name": "brats_flair", "size": [32, 32], "field_of_view": [192.0, 192.0]},
        "detector": {"name": "ensemble", "members": [{"name": "intensity", "side": "higher"}, DISTANCE, CODER]},
        "training": {"tensorboard": False},
        "split": {"held_out": 0.5},
        "pooling": pooling,
    }
    run = medood.train(values, out=tmp_path / "run", device="cpu")
    medood.write_phantoms(tmp_path / "phantoms", subjects=2, seed=3, size=32, slices=12)
    score_folder(run.folder, tmp_path / "phantoms" / "nifti", tmp_path / "scores.csv", device="cpu")
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["level"] == "slice" and row["score"]]
    wanted = {"part_detector", "part_intensity", "part_mahalanobis", "part_autoencoder", "plain_bright", "plain_dark"}
    assert wanted <= set(rows[0])
    assert all(np.isfinite([float(row[name]) for row in rows]).all() for name in wanted)
    assert len({row["score"] for row in rows} & {row["part_detector"] for row in rows}) == 0
