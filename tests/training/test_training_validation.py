"""Validation on held-out normals, the best epoch, and stopping early."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from training_toys import SIDE, Pictures, Reconstruct, Scripted, Toy, plan, run, scripted, seeded

from medood.core.detector import Phase
from medood.core.errors import TrainingError
from medood.training.plan import check_classes


def history(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def train_scripted(detector: Toy, folder, **changes) -> int:
    """Number of the epoch whose weights the detector ends with. Epochs have one batch."""
    run(detector, folder, plan(batch_size=18, **changes), held_out=5)
    assert detector.finished_with == round(detector.net.bias[0].item())
    return detector.finished_with


def test_ends_with_the_best_epoch_and_an_equal_one_is_no_better(tmp_path) -> None:
    assert train_scripted(scripted(5, 3, 4, 3, 6, 7), tmp_path) == 2
    assert [line["validation"] for line in history(tmp_path)] == [5, 3, 4, 3, 6, 7]


def test_negative_losses_have_a_best_epoch_too(tmp_path) -> None:
    assert train_scripted(scripted(-5, -3, -8, -8, -1, -2), tmp_path) == 3


def test_patience_counts_validations_since_the_last_improvement(tmp_path) -> None:
    assert train_scripted(scripted(5, 6, 4, 5, 6, 1), tmp_path, patience=2) == 3
    assert len(history(tmp_path)) == 5
    assert train_scripted(scripted(5, 6, 4, 5, 6, 1), tmp_path, patience=3) == 6


def test_validates_now_and_then_and_after_the_last_epoch(tmp_path) -> None:
    detector = scripted(0, 3, 0, 0, 0, 2)
    assert train_scripted(detector, tmp_path, validate_every=4) == 4
    assert [line["validation"] for line in history(tmp_path)] == [None, None, None, 0, None, 2]
    assert train_scripted(scripted(9, 8, 7, 6, 5, 9), tmp_path, validate_every=5, epochs=4) == 4
    assert [line["validation"] for line in history(tmp_path)] == [None, None, None, 6]


def test_early_stopping_ends_one_phase_and_not_the_training(tmp_path) -> None:
    detector = Toy(type("Script", (Scripted,), {"script": [1, 2, 3, 4, 5, 6], "name": "scripted"}), Reconstruct)
    run(detector, tmp_path, plan(batch_size=18, patience=2), held_out=3)
    assert [line["phase"] for line in history(tmp_path)] == ["scripted"] * 3 + ["reconstruct"] * 3


def test_without_a_validation_loss_the_last_epoch_counts(tmp_path) -> None:
    detector = scripted(1, 2, 3, 4, 5, 6)
    run(detector, tmp_path, plan(batch_size=18, patience=1))
    assert detector.finished_with == 6

    class Mute(Scripted):
        def validate(self, batch):
            return None

    detector = Toy(Mute)
    run(detector, tmp_path, plan(batch_size=18, patience=1), held_out=5)
    assert detector.finished_with == 6
    assert {line["validation"] for line in history(tmp_path)} == {None}


def test_every_image_weighs_the_same(tmp_path) -> None:
    class Brightness(Reconstruct):
        epochs = 1

        def validate(self, batch):
            return batch.image.mean((1, 2, 3))

    run(Toy(Brightness), tmp_path, held_out=9)  # batches of 4, 4 and 1
    expected = Pictures(9, seed=1).values.mean()
    assert history(tmp_path)[0]["validation"] == pytest.approx(float(expected), rel=1e-6)


class Delicate(Reconstruct):
    """Random numbers in training and in validation, a part frozen in eval mode."""

    def __init__(self, detector: Toy) -> None:
        super().__init__(detector)
        self.seen: list[tuple] = []
        detector.phase = self

    def begin(self) -> None:
        self.detector.net[0].eval()

    def step(self, batch, update):
        self.seen.append(self.state())
        return super().step(batch, update)

    def validate(self, batch):
        self.seen.append(self.state())
        self.noise = torch.rand(3)
        return self.detector(batch.image).square().mean(1) + torch.rand(len(batch.image))

    def state(self) -> tuple:
        return (*(module.training for module in self.detector.net), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))


def delicate() -> Toy:
    return Toy(Delicate, net=nn.Sequential(nn.BatchNorm1d(SIDE * SIDE), nn.Dropout(0.5), nn.Linear(SIDE * SIDE, SIDE * SIDE)))


@pytest.mark.parametrize("validate_every", [1, 2])
def test_training_is_the_same_with_and_without_validation(tmp_path, validate_every) -> None:
    run(seeded(delicate), tmp_path / "without")
    run(seeded(delicate), tmp_path / "with", plan(validate_every=validate_every), held_out=6)
    assert [line["losses"] for line in history(tmp_path / "with")] == [line["losses"] for line in history(tmp_path / "without")]


def test_modes_and_gradients_in_training_and_validation(tmp_path) -> None:
    detector = run(delicate(), tmp_path, plan(precision="bfloat16"), held_out=4)
    training, validating = (False, True, True, True, True), (False, False, False, False, False)
    assert detector.phase.seen == ([training] * 5 + [validating]) * 3


def test_every_validation_draws_the_same_random_numbers(tmp_path) -> None:
    class Noise(Reconstruct):
        def validate(self, batch):
            return torch.rand(len(batch.image))

    run(Toy(Noise), tmp_path, held_out=6)
    assert len({line["validation"] for line in history(tmp_path)}) == 1


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (None, "tells 3 classes of images apart, but no training image has a class: .* column `class`"),
        ([-1, -1], "no training image has a class"),
        ([1, 1, -1], "all training images are of one class"),
        ([0, 1, 0], "are of 2 classes, not of 3: set the detector's `classes: 2`"),
        ([0, 1, 2, 3], "are of 4 classes, not of 3: set the detector's `classes: 4`"),
    ],
)
def test_classes_are_compared_with_those_that_a_phase_tells_apart_before_it_begins(known, words) -> None:
    phase = Phase()
    phase.classes = 3
    with pytest.raises(TrainingError, match=words):
        check_classes([phase], None if known is None else np.array(known))
    check_classes([phase], np.array([2, 0, 1, -1, 1]))
    check_classes([Phase()], None)
