"""Pretraining from a folder of pictures to weights that features take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from medood.core.errors import MedoodError, ResumeError
from medood.core.files.atomic import sha256
from medood.recipe.building import extractor_of, image_spec
from medood.recipe.differences import changed_keys
from medood.recipe.loading import load_recipe
from medood.tasks.training.pretrain import pretrain_recipe
from medood.tasks.training.train import train_recipe
from medood.training.watching.progress import Silence

RECIPE = """
source: {name: folder, root: images}
transforms: {name: grey_image, size: [24, 24]}
features: {name: resnet18, weights: random, size: [32, 32], layers: [2]}
detector: {name: knn, statistics: [mean]}
split: {held_out: 0.4}
pretraining: {epochs: 3, batch_size: 6}
training: {tensorboard: false, batch_size: 4}
calibration: {false_alarm_rate: 0.2}
"""


class Interrupts(Silence):
    """Ctrl-C at the end of an epoch."""

    def __init__(self, after: int) -> None:
        self.after = after

    def end_epoch(self, epoch: int, *rest: Any) -> None:
        if epoch == self.after:
            raise KeyboardInterrupt


@pytest.fixture
def place(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(20):
        Image.fromarray(random.integers(0, 256, (24, 24), np.uint8)).save(tmp_path / "images" / f"{number:02d}.png")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def pretrain(place: Path, out: str, *changes: str, **options: Any) -> Path:
    recipe = load_recipe(place / "recipe.yaml", changes)
    options = {"data": place / "images", "device": "cpu", "cache": place / "cache", "progress": False} | options
    return pretrain_recipe(recipe, place / out, **options)


def test_features_take_what_was_learned(place: Path) -> None:
    weights = pretrain(place, "first", "pretraining.epochs=1")
    facts = json.loads((place / "first" / "pretraining.json").read_text(encoding="utf-8"))
    assert facts["sha256"] == sha256(weights)
    assert facts["images"] == 12  # the others are held out for the thresholds
    assert facts["begun_with"] == {"weights": "random", "sha256": None}
    history = [json.loads(line) for line in (place / "first" / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in history] == [1]
    assert set(history[0]["losses"]) == {"loss", "spread"}
    before = load_recipe(place / "recipe.yaml")
    after = load_recipe(place / "recipe.yaml", [f"features.weights={weights.as_posix()}", f"features.sha256={facts['sha256'][:16]}"])
    random, learned = (extractor_of(recipe.features, image_spec(recipe)) for recipe in (before, after))
    saved = load_file(weights)
    held = dict(learned.network.named_buffers())
    assert all(torch.equal(held[name], value) for name, value in saved.items() if not name.endswith("num_batches_tracked"))
    image = torch.rand(1, 1, 24, 24)
    assert not torch.allclose(random(image)[0], learned(image)[0], atol=1e-3)
    run = train_recipe(after, place / "run", data=place / "images", device="cpu", cache=place / "cache", progress=False)
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["recipe"]["features"]["sha256"] == facts["sha256"]


def test_stopped_it_goes_on_to_the_same_bits(place: Path) -> None:
    epochs = "pretraining.epochs=2"
    whole = load_file(pretrain(place, "whole", epochs))
    with pytest.raises(KeyboardInterrupt):
        pretrain(place, "parts", epochs, progress=Interrupts(after=1))
    with pytest.raises(MedoodError, match="interrupted pretraining"):
        pretrain(place, "parts", epochs)
    with pytest.raises(ResumeError, match="changed: pretraining"):
        pretrain(place, "parts", epochs, "pretraining.flip=false", resume=True)
    parts = load_file(pretrain(place, "parts", epochs, resume=True))
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], value) for name, value in whole.items())
    assert not (place / "parts" / "checkpoint").exists()


def test_weights_of_a_file_are_trained_further(place: Path) -> None:
    first = pretrain(place, "first", "pretraining.epochs=1")
    second = pretrain(place, "second", f"features.weights={first.as_posix()}", "pretraining.learning_rate=1e-9", "pretraining.epochs=1")
    before, after = load_file(first), load_file(second)
    assert all(torch.allclose(after[name], before[name], atol=1e-5) for name in before if name.endswith("conv1.weight"))
    facts = json.loads((place / "second" / "pretraining.json").read_text(encoding="utf-8"))
    assert facts["begun_with"] == {"weights": first.as_posix(), "sha256": sha256(first)}


def test_a_smaller_network_and_shrunken_images(place: Path) -> None:
    changes = ("features.name=efficientnet_lite0", "pretraining.epochs=1")
    plain, shrunken = pretrain(place, "plain", *changes), pretrain(place, "shrunken", *changes, "pretraining.shrink_to=[6,6]")
    assert not torch.equal(load_file(plain)["_conv_stem.weight"], load_file(shrunken)["_conv_stem.weight"])
    recipe = load_recipe(place / "recipe.yaml", [changes[0], f"features.weights={shrunken.as_posix()}"])
    assert extractor_of(recipe.features, image_spec(recipe)).sha256 == sha256(shrunken)


def test_what_is_there_is_not_replaced_unasked(place: Path) -> None:
    weights = pretrain(place, "first", "pretraining.epochs=1")
    made = weights.read_bytes()
    with pytest.raises(MedoodError, match="already holds pretrained weights"):
        pretrain(place, "first", "seed=2")
    assert pretrain(place, "first", "pretraining.epochs=1", resume=True).read_bytes() == made
    assert pretrain(place, "first", "seed=2", "pretraining.epochs=1", overwrite=True).read_bytes() != made


@pytest.mark.parametrize("features", ["grey_statistics", "dinov2_vits14"])
def test_features_that_have_nothing_to_teach(place: Path, features: str) -> None:
    text = RECIPE.replace("{name: resnet18, weights: random, size: [32, 32], layers: [2]}", f"{{name: {features}}}")
    (place / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(MedoodError, match=f"features are {features}, expected efficientnet_lite0, resnet18 or resnet50"):
        pretrain(place, "first")
    assert not (place / "first" / "pretraining.json").exists()


def test_how_the_network_was_taught_does_not_change_a_training(place: Path) -> None:
    one, other = (load_recipe(place / "recipe.yaml", changes) for changes in ([], ["pretraining.epochs=7"]))
    assert changed_keys(one, other) == []
