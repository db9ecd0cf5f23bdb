"""Learning rates."""

from __future__ import annotations

import json

import pytest
import torch
from training_toys import Reconstruct, Toy, plan, run

from medood.core.errors import TrainingError
from medood.training.schedule import Schedule


def factors(epochs: int, epoch_length: int, **changes: object) -> list[float]:
    schedule = Schedule(plan(**changes), "train", {}, epochs, epoch_length)
    return [schedule.factor(i) for i in range(epochs * epoch_length)]


def oracle(scheduler: type, iterations: int, **options: object) -> list[float]:
    """What torch's own scheduler gives."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    own, rates = scheduler(optimizer, **options), []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        own.step()
    return rates


def test_cosine_and_linear_agree_with_torch() -> None:
    cosine = oracle(torch.optim.lr_scheduler.CosineAnnealingLR, 12, T_max=12)
    assert factors(3, 4, schedule="cosine") == pytest.approx(cosine, abs=1e-12)
    linear = oracle(torch.optim.lr_scheduler.LinearLR, 12, start_factor=1.0, end_factor=1e-9, total_iters=12)
    assert factors(3, 4, schedule="linear") == pytest.approx(linear, abs=1e-8)


def test_step_divides_by_ten_at_the_milestones() -> None:
    assert factors(4, 2, schedule="step", milestones=(0.5, 0.75)) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert factors(5, 2, schedule="step") == pytest.approx([1] * 6 + [0.1] * 2 + [0.01] * 2), "0.67 and 0.9 of 5 epochs: 3 and 4"
    assert factors(4, 1, schedule="step", milestones=()) == [1, 1, 1, 1]
    assert factors(4, 2, schedule="step", milestones=(0.5,), warmup_epochs=1) == pytest.approx([0.5, 1, 1, 1, 0.1, 0.1, 0.1, 0.1])


def test_step_agrees_with_torch_on_the_courses_of_deep_svdd() -> None:
    """250 of 350 epochs and 50 of 150, as in the authors' code."""
    shares = {"autoencoder": (0.714,), "svdd": (0.333,)}
    for phase, epochs, milestone in (("autoencoder", 350, 250), ("svdd", 150, 50)):
        schedule = Schedule(plan(schedule="step", milestones=shares), phase, {}, epochs, 3)
        expected = oracle(torch.optim.lr_scheduler.MultiStepLR, epochs * 3, milestones=[milestone * 3])
        assert [schedule.factor(i) for i in range(epochs * 3)] == pytest.approx(expected)
    other = Schedule(plan(schedule="step", milestones=shares), "radius", {}, 4, 1)
    assert [other.factor(i) for i in range(4)] == [1, 1, 1, 1]


def test_milestones_of_a_phase_that_is_not_there_are_refused(tmp_path) -> None:
    settings = plan(schedule="step", milestones={"reconstruct": (0.5,), "svd": (0.5,)})
    with pytest.raises(TrainingError, match=r"training.milestones names 'svd'; the phases that learn are: reconstruct\."):
        run(Toy(Reconstruct), tmp_path, settings)


@pytest.mark.parametrize("whole_epochs", [1, 2, 3])
def test_stopped_beside_a_milestone_it_goes_on_at_the_right_rate(tmp_path, whole_epochs) -> None:
    rates: list[float] = []
    last = 2 * whole_epochs + 1  # batches of two; in the middle of the next epoch

    class Stops(Reconstruct):
        epochs = 4

        def step(self, batch, update):
            if len(rates) == last:
                raise KeyboardInterrupt
            rates.append(self.optimizers["net"].param_groups[0]["lr"])
            return super().step(batch, update)

    settings = plan(schedule="step", milestones=(0.5, 0.75))
    with pytest.raises(KeyboardInterrupt):
        run(Toy(Stops), tmp_path, settings, images=8)
    assert len(rates) == last
    rates, last = rates[:-1], None  # the epoch that was not finished begins anew
    run(Toy(Stops), tmp_path, settings, images=8, resume=True)
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)


def test_warm_up_rises_to_the_full_rate_and_the_schedule_fills_the_rest() -> None:
    assert factors(3, 2, warmup_epochs=2) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert factors(3, 4, warmup_epochs=1, schedule="linear") == pytest.approx([0.25, 0.5, 0.75, 1, *(1 - i / 8 for i in range(8))])


def test_every_optimizer_follows_from_its_own_rate(tmp_path) -> None:
    rates: list[list[float]] = []

    class Two(Reconstruct):
        def __init__(self, detector: Toy) -> None:
            weight, bias = detector.net.parameters()
            self.detector = detector
            groups = [{"params": [weight], "lr": 0.2}, {"params": [bias], "lr": 0.4}]
            self.optimizers = {"net": torch.optim.SGD(groups, lr=1.0), "unused": torch.optim.SGD([bias], lr=0.8)}

        def step(self, batch, update):
            rates.append([group["lr"] for optimizer in self.optimizers.values() for group in optimizer.param_groups])
            return super().step(batch, update)

    run(Toy(Two), tmp_path, plan(schedule="linear", epochs=2), images=8)
    assert rates == [pytest.approx([0.2 * f, 0.4 * f, 0.8 * f]) for f in (1, 0.75, 0.5, 0.25)]
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["learning_rate"] == pytest.approx({"net": 0.05, "unused": 0.2})


def test_warm_up_must_leave_an_epoch(tmp_path) -> None:
    with pytest.raises(TrainingError, match=r"warmup_epochs is 3, but phase 'reconstruct' has only 3 epochs"):
        run(Toy(Reconstruct), tmp_path, plan(warmup_epochs=3))
