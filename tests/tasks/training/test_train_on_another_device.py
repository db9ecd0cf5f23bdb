"""`medood train` and `medood score` on a device that is not the processor."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pretend_gpu import GPU, pretend_gpu

from medood.recipe.loading import load_recipe
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe

RECIPE = """
source: {name: folder, root: nowhere}
transforms: {name: grey_image, size: 32}
detector: {name: autoencoder, latent: 2, width: 2}
training: {epochs: 2, batch_size: 8, tensorboard: false}
split: {held_out: 0.4}
calibration: {false_alarm_rate: 0.2}
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(rng.integers(0, 255, (36, 36), np.uint8)).save(folder / f"{number:02d}.png")
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        ["training.precision=bfloat16", "training.channels_last=true"],
        ["detector={name: knn}", "features={name: gradient_histograms, size: [48, 48], layers: [8, 12]}"],
    ],
    ids=["in bfloat16", "on features"],
)
def test_a_run_made_there_scores_the_same_on_the_processor(images: Path, tmp_path: Path, changes: list[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(tmp_path / "recipe.yaml", changes)
    with pretend_gpu():
        run = train_recipe(recipe, tmp_path / "run", data=images, device=GPU.type, cache=tmp_path / "cache", progress=False)
        score_folder(run, images, tmp_path / "there.csv", device=GPU.type, maps=tmp_path / "maps")
    score_folder(run, images, tmp_path / "here.csv", device="cpu")
    assert scores(tmp_path / "there.csv") == pytest.approx(scores(tmp_path / "here.csv"), rel=1e-5)


def scores(table: Path) -> list[float]:
    with table.open(encoding="utf-8", newline="") as file:
        found = [float(row["score"]) for row in csv.DictReader(file)]
    assert len(found) == 20
    return found
