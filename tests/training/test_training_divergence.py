"""Losses and weights that are no numbers stop the training and bring the last good epoch back."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from training_toys import Reconstruct, Toy, plan, run, seeded

from medood.core.errors import TrainingError


class Fails(Reconstruct):
    """`fault(phase, image)` changes a loss or a weight in the given iteration of all epochs; an epoch has five."""

    at = 8

    def __init__(self, detector: Toy) -> None:
        super().__init__(detector)
        self.iteration = 0

    def step(self, batch, update):
        self.iteration += 1
        losses = super().step(batch, update)
        return self.fault(losses) if self.iteration == self.at else losses

    def fault(self, losses):
        return losses


class BadLoss(Fails):
    value = math.nan

    def fault(self, losses):
        return losses | {"second": torch.tensor(self.value)}


class InfiniteLoss(BadLoss):
    value = -math.inf


class BadFirst(BadLoss):
    at = 2


class BadWeight(Fails):
    """The weights are lost in the last step of the second epoch, whose loss is still a number."""

    at = 10

    def fault(self, losses):
        self.detector.net.weight.data[3, 2] = math.nan
        return losses


class BadHiddenLoss(Reconstruct):
    """The loss that the optimizer follows is not among those that the step returns."""

    def step(self, batch, update):
        update(self.detector(batch.image).sum() * math.inf, "net")
        return {}


class BadValidation(Reconstruct):
    def validate(self, batch):
        return torch.full((len(batch.image),), math.nan)


@pytest.mark.parametrize(
    ("phase", "sentence", "epoch"),
    [
        (BadLoss, r"loss 'second' became nan in phase 'reconstruct', epoch 2, iteration 8\.", 1),
        (InfiniteLoss, r"loss 'second' became -inf in phase 'reconstruct', epoch 2, iteration 8\.", 1),
        (BadFirst, r"epoch 1, iteration 2\.", 0),
        (BadWeight, r"a weight is not finite in phase 'reconstruct', epoch 2, iteration 10\.", 1),
        (BadHiddenLoss, r"the loss of optimizer 'net' became (nan|inf|-inf) in phase 'reconstruct', epoch 1, iteration 1\.", 0),
        (BadValidation, r"the validation loss became nan in phase 'reconstruct', epoch 1, iteration 5\.", 0),
    ],
)
def test_last_good_epoch_is_kept(tmp_path, phase, sentence, epoch) -> None:
    good = seeded(Toy, Reconstruct)
    if epoch:
        run(good, tmp_path / "good", plan(epochs=epoch))
    detector = seeded(Toy, phase)

    with pytest.raises(TrainingError, match=sentence) as error:
        run(detector, tmp_path / "bad", held_out=3)

    assert "lower learning rate" in str(error.value)
    assert "training.precision=float32" in str(error.value)
    kept = load_file(tmp_path / "bad" / "checkpoint" / "training.safetensors")
    for name, value in good.net.state_dict().items():
        assert torch.equal(detector.net.state_dict()[name], value), name
        assert torch.equal(kept[f"weights/net.{name}"], value), name
    assert not bool(detector.fitted_)
    lines = (tmp_path / "bad" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, epoch + 1))


def test_iteration_is_the_first_bad_one_although_losses_are_read_later(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("medood.training.losses.SECONDS_BETWEEN_READS", 1e9)

    class Onwards(BadLoss):
        def step(self, batch, update):
            losses = super().step(batch, update)
            return losses | {"third": torch.tensor(math.nan)} if self.iteration > self.at else losses

    with pytest.raises(TrainingError, match=r"'second' became nan in phase 'reconstruct', epoch 2, iteration 8\."):
        run(Toy(Onwards), tmp_path)
