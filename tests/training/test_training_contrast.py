"""What a detector learns to tell normal images from: which images of it a batch brings, and what is made where nobody has any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training_toys import CPU, SIDE, Pictures, Toy, plan, run, seeded

from medood.core.detector import Batch, ImageSpec, Phase, Update
from medood.core.errors import ResumeError, TrainingError
from medood.training.contrast import Contrast, Pasted, made_of, mixed
from medood.training.data import Batches, InOrder

SPEC = ImageSpec(1, 32, 32, background=0.0)


class Told(Toy):
    learns_from_contrast = True


class Tells(Phase):
    """Learns a direction along which normal images and those of the contrast lie apart; notes whatever it is given."""

    name = "tells"
    epochs = 3
    stop_at = 0

    def __init__(self, detector: Toy) -> None:
        self.detector = detector
        detector.head = nn.Linear(SIDE * SIDE, 1)
        self.optimizers = {"head": torch.optim.Adam(detector.head.parameters(), 0.01)}
        self.batches: list[Batch] = []
        self.validated: list[Batch] = []
        detector.tells = self

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.batches.append(batch)
        if len(self.batches) == self.stop_at:
            raise KeyboardInterrupt
        loss = F.softplus(self.detector.head(batch.image.flatten(1))).mean()
        if batch.contrast is not None:
            loss = loss + F.softplus(-self.detector.head(batch.contrast.image.flatten(1))).mean()
        update(loss, "head")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        self.validated.append(batch)
        return self.detector.head(batch.image.flatten(1))[:, 0]


class OnCodes(Tells):
    def inputs(self, batch: Batch) -> Tensor:
        return batch.image[:, 0, :2, :3]


def others(count: int = 7, held_out: int = 2) -> Contrast:
    return Contrast(Pictures(count, seed=5), Pictures(held_out, seed=6))


def rows(images: Tensor) -> list[bytes]:
    return [one.numpy().tobytes() for one in images]


@pytest.mark.parametrize("count", [1, 5, 18, 40])
def test_a_batch_brings_as_many_other_images_and_all_are_drawn_before_one_comes_again(tmp_path: Path, count: int) -> None:
    detector, contrast = seeded(Told, Tells), others(count)
    run(detector, tmp_path, held_out=5, contrast=contrast)
    batches = detector.tells.batches
    assert all(len(batch.contrast.image) == len(batch.image) for batch in batches)
    per_epoch = len(batches) // 3
    orders = []
    for epoch in range(3):
        drawn = [row for batch in batches[epoch * per_epoch : (epoch + 1) * per_epoch] for row in rows(batch.contrast.image)]
        orders.append(drawn)
        counts = [drawn.count(row) for row in rows(torch.from_numpy(contrast.images.values))]
        assert sum(counts) == 18
        assert max(counts) - min(counts) <= 1
    assert count == 1 or orders[0] != orders[1]


def test_held_out_images_are_validated_beside_those_of_other_patients(tmp_path: Path) -> None:
    detector, contrast = seeded(Told, Tells), others(held_out=2)
    run(detector, tmp_path, held_out=5, contrast=contrast)
    last = torch.cat([batch.contrast.image for batch in detector.tells.validated[-2:]])
    assert torch.equal(last, torch.from_numpy(contrast.held_out.values[[0, 1, 0, 1, 0]]))
    run(again := seeded(Told, Tells), tmp_path, held_out=5, contrast=others(held_out=0))
    assert all(batch.contrast is None for batch in again.tells.validated)


def test_the_inputs_of_other_images_are_computed_once_too(tmp_path: Path) -> None:
    detector = seeded(Told, OnCodes)
    run(detector, tmp_path, held_out=5, contrast=others())
    for batch in [*detector.tells.batches, *detector.tells.validated]:
        assert torch.equal(batch.contrast.inputs, batch.contrast.image[:, 0, :2, :3])


@pytest.mark.parametrize("stop_at", [3, 9])
def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    whole, again = seeded(Told, OnCodes), seeded(Told, OnCodes)
    stopped = seeded(Told, type("Stops", (OnCodes,), {"stop_at": stop_at}))
    run(whole, tmp_path / "whole", held_out=5, contrast=others())
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tmp_path / "stopped", held_out=5, contrast=others())
    run(again, tmp_path / "stopped", held_out=5, contrast=others(), resume=True)
    assert torch.equal(again.head.weight, whole.head.weight)


def test_a_training_goes_on_with_the_same_contrast_only(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(seeded(Told, type("Stops", (Tells,), {"stop_at": 7})), tmp_path, contrast=others(7))
    with pytest.raises(ResumeError, match="number of images to contrast with was 7, is 8"):
        run(seeded(Told, Tells), tmp_path, contrast=others(8), resume=True)


def test_a_detector_gets_a_contrast_exactly_if_it_learns_from_one(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="was given none"):
        run(Told(Tells), tmp_path)
    with pytest.raises(TrainingError, match="no use for a contrast"):
        run(Toy(Tells), tmp_path, contrast=others())
    with pytest.raises(TrainingError, match="has no images"):
        run(Told(Tells), tmp_path, contrast=others(0))
    with pytest.raises(TrainingError, match="mixes features"):
        run(Told(Tells), tmp_path, contrast="product_of_marginals")


def test_marginals_stay_and_what_ties_features_together_goes() -> None:
    base = torch.linspace(-3, 3, 400)
    inputs = torch.stack([base, base + 10, -base], 1)[:, None].repeat(1, 2, 1)
    made = mixed(Batch(torch.zeros(400, 1, 1, 1), inputs=inputs), seed=1).inputs
    assert torch.equal(made.sort(0).values, inputs.sort(0).values)
    assert torch.equal(made[:, 0], made[:, 1])  # places of an image stay together
    assert np.abs(np.corrcoef(made[:, 0].T.numpy()) - np.eye(3)).max() < 0.2
    assert np.abs(np.corrcoef(inputs[:, 0].T.numpy())).min() > 0.99
    assert mixed(Batch(torch.zeros(2, 1, 1, 1)), seed=1) is None


def test_every_batch_is_mixed_anew_and_again_the_same(tmp_path: Path) -> None:
    runs = [seeded(Told, OnCodes) for _ in range(2)]
    for number, detector in enumerate(runs):
        run(detector, tmp_path / str(number), contrast="product_of_marginals")
    first, second = ([batch.contrast.inputs for batch in detector.tells.batches] for detector in runs)
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], first[5])


class Discs:
    def __init__(self, count: int) -> None:
        self.values = torch.zeros(count, 1, 32, 32)
        self.values[:, :, 6:26, 6:26] = 0.5 + 0.2 * torch.rand((count, 1, 20, 20), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, numbers: np.ndarray) -> Tensor:
        return self.values[torch.from_numpy(numbers)]


def test_pasted_anomalies_are_the_same_whenever_they_are_asked_for_and_inside_the_body() -> None:
    images = Discs(9)
    contrast = made_of("synthetic", images, Discs(2), SPEC, seed=3)
    assert (len(contrast.images), len(contrast.held_out)) == (9, 2)
    whole = contrast.images.gather(np.arange(9))
    assert torch.equal(whole[[7, 2]], contrast.images.gather(np.array([7, 2])))
    changed = (whole != images.values).flatten(1).any(1)
    assert changed.sum() >= 8  # a paste may happen to change nothing that can be seen
    assert torch.equal(whole[:, :, :6], images.values[:, :, :6])
    assert not torch.equal(whole, Pasted(images, SPEC, 4).gather(np.arange(9)))


def test_held_out_images_get_other_anomalies_than_training_images_of_the_same_number() -> None:
    images = Discs(6)
    contrast = made_of("synthetic", images, images, SPEC, seed=3)
    training, held_out = (part.gather(np.arange(6)) != images.values for part in (contrast.images, contrast.held_out))
    shared = (training & held_out).flatten(1).sum(1) / (training | held_out).flatten(1).sum(1).clamp(min=1)
    assert shared.mean() < 0.5


class Classed(Pictures):
    classes = np.arange(18)


def test_classes_travel_with_their_images() -> None:
    images = Classed(18)
    for batch in [*Batches(images, 4, 0, "train").stream(1, 1), *(batch for _, batch in InOrder(images, 4).stream())]:
        assert batch.classes.dtype == torch.int64
        assert torch.equal(torch.from_numpy(images.values[batch.classes.numpy()]), batch.image)
    batch = next(Batches(images, 4, 0, "train", contrast=Batches(Pictures(3), 4, 0, "train")).stream(1, 1))
    assert batch.to(CPU).classes is not None
    assert batch.to(CPU).contrast.classes is None


def test_from_python(tmp_path: Path) -> None:
    images, more = torch.rand(10, 1, SIDE, SIDE), torch.rand(6, 1, SIDE, SIDE)
    detector = seeded(Told, Tells).fit(images, images[:3], contrast=more, **plan().model_dump(include={"batch_size"}))
    assert len(detector.tells.batches[0].contrast.image) == 4
    with pytest.raises(TrainingError, match="expected images or one of synthetic, product_of_marginals"):
        seeded(Told, Tells).fit(images, contrast="pasted")
