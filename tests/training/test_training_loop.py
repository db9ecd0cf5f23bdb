"""What the trainer does to a detector, against plain PyTorch loops."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_toys import CPU, SIDE, Collect, Pictures, Reconstruct, Toy, hide, plan, run, seeded

from medood.core.detector import Phase
from medood.core.errors import TrainingError
from medood.training.data import Batches
from medood.training.plan import planned_epochs
from medood.training.trainer import train


def images_of(epoch: int, phase: str, *, count: int = 18, seed: int = 3, size: int = 4) -> list[torch.Tensor]:
    """The batches that a training sees, made again."""
    pictures = Pictures(count)
    order = Batches(pictures, size, seed, phase).order(epoch)
    return [torch.from_numpy(pictures.values[numbers]) for numbers in np.array_split(order, -(-count // size))]


def test_one_phase_equals_a_plain_loop(tmp_path) -> None:
    found = run(seeded(Toy, Reconstruct), tmp_path, plan(clip_norm=0.05))

    expected = seeded(Toy, Reconstruct)
    optimizer = torch.optim.SGD(expected.net.parameters(), lr=0.1, momentum=0.9)
    means = []
    for epoch in (1, 2, 3):
        losses = []
        for image in images_of(epoch, "reconstruct"):
            loss = F.mse_loss(expected(image), image.flatten(1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(expected.net.parameters(), 0.05)
            optimizer.step()
            losses.append(loss.item())
        means.append(sum(losses) / 5)

    for name, value in expected.net.state_dict().items():
        assert torch.equal(found.net.state_dict()[name], value), name
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["losses"]["loss"] for line in lines] == pytest.approx(means)
    assert [(line["phase"], line["epoch"], line["iteration"]) for line in lines] == [("reconstruct", e, 5 * e) for e in (1, 2, 3)]
    assert all(line["validation"] is None and line["seconds"] >= 0 for line in lines)


class Adversaries(Phase):
    """A generator and a discriminator that are stepped in the same iteration."""

    name = "adversaries"

    def __init__(self, detector: Toy) -> None:
        self.generator, self.discriminator = detector.net
        self.optimizers = {
            "discriminator": torch.optim.SGD(self.discriminator.parameters(), lr=0.5),
            "generator": torch.optim.SGD(self.generator.parameters(), lr=0.5),
        }
        self.leaked: list[bool] = []

    def losses(self, image: torch.Tensor, name: str) -> torch.Tensor:
        fake = self.generator(image.flatten(1))
        if name == "generator":
            return F.softplus(-self.discriminator(fake)).mean()
        return F.softplus(self.discriminator(fake.detach())).mean() + F.softplus(-self.discriminator(image.flatten(1))).mean()

    def step(self, batch, update):
        found = {}
        for name in self.optimizers:
            before = [p.grad.clone() for p in self.discriminator.parameters()] if name == "generator" else []
            found[name] = self.losses(batch.image, name)
            update(found[name], name)
            if name == "generator":
                self.leaked.append(not all(torch.equal(p.grad, b) for p, b in zip(self.discriminator.parameters(), before, strict=True)))
        return found


def adversaries() -> nn.Sequential:
    return nn.Sequential(nn.Linear(SIDE * SIDE, SIDE * SIDE), nn.Linear(SIDE * SIDE, 1))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_updates_in_an_iteration_equal_a_plain_loop(tmp_path, precision) -> None:
    """In bfloat16 the second loss must see the weights that the first update made, not autocast's old copies of them."""
    torch.manual_seed(0)
    phases: list[Adversaries] = []
    detector = Toy(lambda toy: phases.append(Adversaries(toy)) or phases[-1], net=adversaries())
    found = run(detector, tmp_path, plan(precision=precision, epochs=2)).net
    assert phases[0].leaked == [False] * 10  # a generator's loss computes no gradients of the discriminator

    torch.manual_seed(0)
    expected = Toy(net=adversaries())
    plain = Adversaries(expected)
    for epoch in (1, 2):
        for image in images_of(epoch, "adversaries"):
            for name, optimizer in plain.optimizers.items():
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False):
                    loss = plain.losses(image, name)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    for name, value in expected.net.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
        assert value.dtype == torch.float32


class Spy(Reconstruct):
    """Writes down how the trainer runs it."""

    def __init__(self, detector: Toy, name: str, log: list) -> None:
        super().__init__(detector)
        self.name, self.log, self.epochs = name, log, 2
        if name == "closed":
            self.optimizers = {}

    def begin(self) -> None:
        self.log.append((self.name, "begin", torch.is_grad_enabled()))

    def finish(self) -> None:
        self.log.append((self.name, "finish", torch.is_grad_enabled()))

    def step(self, batch, update):
        output = self.detector(batch.image)
        self.log.append((self.name, self.detector.training, torch.is_grad_enabled(), output.dtype, batch.hidden is not None))
        return super().step(batch, update) if self.optimizers else {}


def test_phases_run_in_order_each_in_its_own_way(tmp_path) -> None:
    log: list = []
    names = ["first", "closed", "last"]
    phases = [lambda toy, name=name: Spy(toy, name, log) for name in names]
    detector = run(Toy(*phases), tmp_path, plan(precision="bfloat16", epochs={"last": 1}), images=8, augment=hide)

    learning = (True, True, torch.bfloat16, True)
    closed = (False, False, torch.float32, False)
    assert log == [
        ("first", "begin", False),
        *[("first", *learning)] * 4,
        ("first", "finish", False),
        ("closed", "begin", False),
        *[("closed", *closed)] * 4,  # two epochs of its own, whatever the plan says of others
        ("closed", "finish", False),
        ("last", "begin", False),
        *[("last", *learning)] * 2,
        ("last", "finish", False),
    ]
    assert bool(detector.fitted_)
    assert not detector.training


def test_closed_form_sees_every_image_as_it_is(tmp_path) -> None:
    detector = run(Toy(Collect), tmp_path, augment=hide, held_out=3)
    torch.testing.assert_close(detector.mean_, torch.from_numpy(Pictures(18).values.mean(0)))


def test_same_seed_same_bits_and_another_seed_others(tmp_path) -> None:
    class Noisy(Reconstruct):
        def step(self, batch, update):
            batch.image = batch.image + 0.1 * torch.randn_like(batch.image)
            return super().step(batch, update)

    def weight(**options) -> torch.Tensor:
        detector = seeded(Toy, Noisy)
        torch.rand(next(draws))  # what was drawn before training does not matter
        return run(detector, tmp_path, **options).net.weight

    draws = iter(range(3, 9))
    first = weight()
    assert torch.equal(weight(), first)
    assert not torch.equal(weight(seed=4), first)


def test_training_again_starts_from_unfitted(tmp_path) -> None:
    seen: list[bool] = []

    class Looks(Reconstruct):
        def step(self, batch, update):
            seen.append(bool(self.detector.fitted_))
            return super().step(batch, update)

    detector = run(Toy(Looks), tmp_path)
    run(detector, tmp_path)
    assert not any(seen)


def test_unknown_optimizer_is_named(tmp_path) -> None:
    class Wrong(Reconstruct):
        def step(self, batch, update):
            update(self.detector.net.weight.sum(), "nett")

    with pytest.raises(TrainingError, match=r"Phase 'reconstruct' asked to step the optimizer 'nett'; its optimizers are: 'net'\."):
        run(Toy(Wrong), tmp_path)


def test_frozen_parameters_in_an_optimizer_stay(tmp_path) -> None:
    class Frozen(Reconstruct):
        def begin(self) -> None:
            self.detector.net.bias.requires_grad_(False)

    detector = seeded(Toy, Frozen)
    before = {name: value.clone() for name, value in detector.net.named_parameters()}
    run(detector, tmp_path)
    assert torch.equal(detector.net.bias, before["bias"])
    assert not torch.equal(detector.net.weight, before["weight"])


@pytest.mark.parametrize(
    ("epochs", "expected"), [(None, [3, 1]), (7, [7, 1]), ({"reconstruct": 2}, [2, 1])], ids=["own", "one number", "by name"]
)
def test_planned_epochs(epochs, expected) -> None:
    assert planned_epochs(Toy(Reconstruct, Collect).phases(), epochs) == expected


@pytest.mark.parametrize("name", ["recontsruct", "collect"])
def test_epochs_of_a_phase_that_has_none_to_set(name, tmp_path) -> None:
    with pytest.raises(TrainingError, match=rf"names '{name}'; the phases whose epochs can be set are: reconstruct\."):
        run(Toy(Reconstruct, Collect), tmp_path, plan(epochs={name: 2}))


def test_nothing_to_train_on(tmp_path) -> None:
    with pytest.raises(TrainingError, match="no normal images"):
        train(Toy(Reconstruct), Pictures(0), Pictures(3), plan(), tmp_path, seed=0, device=CPU, progress=False)


def test_a_single_image_is_enough(tmp_path) -> None:
    assert bool(run(Toy(Reconstruct), tmp_path, images=1).fitted_)


def test_gradients_are_computed_outside_autocast(tmp_path) -> None:
    seen: list[bool] = []

    class Hooked(Reconstruct):
        def step(self, batch, update):
            loss = self.detector(batch.image).square().mean()
            loss.register_hook(lambda gradient: seen.append(torch.is_autocast_enabled("cpu")))
            update(loss, "net")
            return {}

    run(Toy(Hooked), tmp_path, plan(precision="bfloat16"))
    assert set(seen) == {False}


def test_errors_of_a_detector_come_through_as_they_are(tmp_path, caplog) -> None:
    class Broken(Reconstruct):
        def step(self, batch, update):
            raise IndexError("of the detector")

    with pytest.raises(IndexError, match="of the detector"):
        run(Toy(Broken), tmp_path)
    assert caplog.records == []  # and once


def test_the_folder_holds_no_pickle(tmp_path) -> None:
    run(Toy(Reconstruct, Collect), tmp_path, held_out=3)
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        with path.open("rb") as file, pytest.raises((pickle.UnpicklingError, UnicodeDecodeError, EOFError, ValueError)):
            pickle.load(file)
