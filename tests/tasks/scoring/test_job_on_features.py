"""A run on features, end to end: what is computed twice, what is in the run, and what happens to its weights file."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detector_trials import extractor
from PIL import Image
from safetensors.torch import load_file

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256
from medood.features.network import FrozenNetwork
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe

RECIPE = """
summary: nearest neighbours on pictures
source: {{name: folder, root: nowhere}}
transforms: {{name: grey_image, size: [32, 32]}}
features: {{name: resnet18, weights: {weights}, size: [32, 32], layers: [1, 2]}}
detector: {{name: knn, k: 2}}
training: {{tensorboard: false}}
split: {{held_out: 0.4}}
calibration: {{false_alarm_rate: 0.2}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with `images`, `weights.pth` and `recipe.yaml`."""
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(16):
        Image.fromarray((random.random((32, 32)) * 255).astype(np.uint8)).save(tmp_path / "images" / f"{number}.png")
    network = extractor(ImageSpec(1, 32, 32), {"name": "resnet18", "weights": "random"}).network
    torch.save(dict(network.named_buffers()), tmp_path / "weights.pth")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(weights=(tmp_path / "weights.pth").as_posix()), encoding="utf-8")
    return tmp_path


def train(place: Path, out: str, *changes: str) -> Path:
    recipe = load_recipe(place / "recipe.yaml", changes)
    return train_recipe(recipe, place / out, data=place / "images", device="cpu", cache=place / "cache", progress=False)


def scores_of(run: Path, images: Path, out: Path, **options: Path) -> list[str]:
    score_folder(run, images, out, device="cpu", overwrite=True, **options)
    with out.open(encoding="utf-8", newline="") as file:
        return [row["score"] for row in csv.DictReader(file) if row["level"] == "image"]


def test_no_image_is_seen_twice_by_the_network(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = FrozenNetwork._extract
    monkeypatch.setattr(FrozenNetwork, "_extract", lambda self, unit: seen.append(len(unit)) or plain(self, unit))
    first = train(place, "first")
    assert sum(seen) == 2 * 16 + 1  # training and held-out images, with a lesion for the gate too, and one to learn the sizes of the grids
    seen.clear()
    second = train(place, "second", "detector.k=3")
    third = train(place, "third", "features.layers=[2]")
    assert sum(seen) == 2  # the sizes of the grids
    seen.clear()
    scored = [scores_of(run, place / "images", place / "s.csv", features=place / "cache" / "features") for run in (first, second, third)]
    assert sum(seen) == 3  # no image, as the others of these features had kept them
    assert scored[0] == scores_of(first, place / "images", place / "s.csv")  # which computes them


def test_the_run_names_the_weights_and_does_not_hold_them(place: Path) -> None:
    run = load_run(train(place, "run"))
    assert run.recipe.features["sha256"] == sha256(place / "weights.pth")
    assert set(load_file(run.folder / "weights.safetensors")) == {"fitted_", "mean_", "divisor_", "bank_"}
    assert (run.folder / "weights.safetensors").stat().st_size < 100_000


def test_a_run_refuses_other_weights_and_finds_its_own_elsewhere(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(place, "run")
    before = scores_of(run, place / "images", place / "before.csv")
    (place / "moved").mkdir()
    shutil.move(place / "weights.pth", place / "moved" / "weights.pth")
    with pytest.raises(MedoodError, match="MEDOOD_WEIGHTS"):
        load_run(run)
    monkeypatch.setenv("MEDOOD_WEIGHTS", str(place / "moved"))
    assert scores_of(run, place / "images", place / "after.csv") == before
    other = extractor(ImageSpec(1, 32, 32), {"name": "resnet18", "weights": "random", "seed": 1}).network
    torch.save(dict(other.named_buffers()), place / "moved" / "weights.pth")
    with pytest.raises(MedoodError, match="is not the file that is wanted"):
        load_run(run)


def test_missing_weights_are_known_before_any_image_is_read(place: Path) -> None:
    (place / "weights.pth").unlink()
    shutil.rmtree(place / "images")
    with pytest.raises(MedoodError, match="no weights file"):
        train(place, "run")
