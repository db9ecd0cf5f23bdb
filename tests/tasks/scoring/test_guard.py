"""Guards of classifiers and maps by occlusion, from files to scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medood.core.errors import MedoodError
from medood.recipe.differences import changed_keys
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe

RECIPE = """
source: {name: folder, root: nowhere, csv: table.csv}
transforms: {name: grey_image, size: [16, 16]}
detector: {name: classifier_guard, classes: 2, width: 4, epochs: 2}
training: {tensorboard: false, batch_size: 4}
split: {held_out: 0.4}
calibration: {false_alarm_rate: 0.2}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Pictures that are bright on the left or on the right, with a table of their classes; one of a third class for testing."""
    random = np.random.default_rng(0)
    rows = ["path,group,label,part,class"]
    (tmp_path / "images").mkdir()
    for number in range(21):
        picture = 0.5 * random.random((16, 16))
        kind = "other" if number == 20 else ("left", "right")[number % 2]
        picture[:, slice(0, 8) if kind == "left" else slice(8, 16)] += 0.5
        Image.fromarray((picture * 255).astype(np.uint8)).save(tmp_path / "images" / f"{number}.png")
        rows.append(f"{number}.png,{number},0,{'test' if number == 20 else ''},{kind}")
    (tmp_path / "images" / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def train(place: Path, out: str, *changes: str) -> Path:
    recipe = load_recipe(place / "recipe.yaml", list(changes))
    return train_recipe(recipe, place / out, data=place / "images", device="cpu", cache=place / "cache", progress=False)


def scored(run: Path, folder: Path, **options: object) -> list[dict[str, str]]:
    score_folder(run, folder, run / "s.csv", device="cpu", overwrite=True, table="table.csv", **options)
    with (run / "s.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_class_that_training_never_saw_is_scored_like_any_other_image(place: Path) -> None:
    run = train(place, "run")
    rows = scored(run, place / "images", part="test")
    assert [row["id"] for row in rows] == ["20.png"]
    assert all(np.isfinite(float(rows[0][f"part_{name}"])) for name in ("softmax", "energy", "odin", "mahalanobis"))


def classifier(path: Path, weight: float) -> Path:
    """Left, right or neither, by the sums of both halves times a weight."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 3)).eval()
    left = (torch.arange(256) % 16 < 8).float()
    with torch.no_grad():
        network[1].weight.copy_(weight * torch.stack([left, 1 - left, 0 * left]))
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.export.save(torch.export.export(network, (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: batch},)), path)
    return path


def test_a_run_knows_its_classifier_and_refuses_another(place: Path) -> None:
    path = classifier(place / "it.pt2", 0.1)
    own = (f"detector.classifier={path.as_posix()}", "detector.classes=null", "detector.score=mahalanobis")
    run = train(place, "run", *own)
    kept = load_run(run).recipe
    assert len(kept.detector["sha256"]) == 64
    assert Path(kept.detector["classifier"]) == path.resolve()
    assert len(scored(run, place / "images")) == 21
    moved = kept.model_copy(update={"detector": {**kept.detector, "classifier": "elsewhere/it.pt2"}})
    assert changed_keys(kept, moved) == []
    other = kept.model_copy(update={"detector": {**kept.detector, "sha256": "0" * 64}})
    assert changed_keys(kept, other) == ["detector"]
    classifier(path, 0.2)
    with pytest.raises(MedoodError, match="not the file that was meant"):
        scored(run, place / "images")
    path.unlink()
    with pytest.raises(MedoodError, match="There is no classifier"):
        scored(run, place / "images")


def test_a_map_by_occlusion_goes_from_the_recipe_to_files_and_its_cost_is_stated(place: Path, capsys: pytest.CaptureFixture) -> None:
    run = train(place, "run", "detector={name: one_class_svm}", "occlusion={side: 8}", "pooling={reduction: percentile}")
    cost = "every image is scored up to 10 times, with squares of 8 pixels hidden"
    assert cost in capsys.readouterr().err
    rows = scored(run, place / "images", maps=place / "maps")
    assert cost in capsys.readouterr().err
    assert len(list((place / "maps").glob("*_map.*"))) == len(rows) == 21
    with pytest.raises(MedoodError, match="map of its own"):
        train(place, "other", "detector={name: intensity}", "occlusion={}")
