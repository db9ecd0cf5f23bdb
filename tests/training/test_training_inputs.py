"""A phase that trains on something computed once per image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training_toys import Collect, Toy, hide, plan, run, seeded

from medood.core.detector import Batch, Phase, Update


class OnCodes(Phase):
    """Learns to tell the code of an image from the mean of its code; notes whatever it is given."""

    name = "codes"
    epochs = 4
    stop_at = 0

    def __init__(self, detector: Toy) -> None:
        self.detector = detector
        detector.coder = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Dropout(0.5)).requires_grad_(False)
        detector.head = nn.Linear(1, 5)
        self.optimizers = {"head": torch.optim.Adam(detector.head.parameters(), 0.01)}
        self.asked: list[int] = []
        self.batches: list[Batch] = []
        detector.codes = self

    def inputs(self, batch: Batch) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not self.detector.coder.training
        self.asked.append(len(batch.image))
        return self.detector.coder(batch.image)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.batches.append(batch)
        if len(self.batches) == self.stop_at:
            raise KeyboardInterrupt
        assert self.detector.coder.training
        loss = self.loss(batch).mean()
        update(loss, "head")
        return {"loss": loss.detach()}

    def loss(self, batch: Batch) -> Tensor:
        return (self.detector.head(batch.inputs.mean(1, keepdim=True)) - batch.inputs).square().mean(1)

    def validate(self, batch: Batch) -> Tensor:
        assert torch.equal(batch.inputs, self.detector.coder(batch.image))
        return self.loss(batch)


def test_each_image_is_computed_once_and_every_batch_has_its_own_rows(tmp_path: Path) -> None:
    detector = seeded(Toy, OnCodes)
    run(detector, tmp_path, plan(batch_size=4), held_out=7, augment=hide)
    phase = detector.codes
    assert sum(phase.asked) == 18 + 7  # and not once an epoch
    assert len(phase.batches) == 4 * 5
    for batch in phase.batches:
        assert batch.hidden is None  # rows of an image would say nothing of a changed one
        torch.testing.assert_close(batch.inputs, F.linear(batch.image.flatten(1), *detector.coder[1].parameters()))


@pytest.mark.parametrize("stop_at", [1, 8, 13])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    whole, stopped, again = seeded(Toy, OnCodes), seeded(Toy, type("Stops", (OnCodes,), {"stop_at": stop_at})), seeded(Toy, OnCodes)
    run(whole, tmp_path / "whole", plan(batch_size=4), held_out=7)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tmp_path / "stopped", plan(batch_size=4), held_out=7)
    run(again, tmp_path / "stopped", plan(batch_size=4), held_out=7, resume=True)
    assert torch.equal(again.head.weight, whole.head.weight)


def test_a_phase_without_inputs_has_none(tmp_path: Path) -> None:
    run(Toy(Collect), tmp_path, plan(batch_size=4), held_out=7)
    assert not list(tmp_path.rglob("inputs*"))
