"""Training for more epochs than were planned: complete and interrupted trainings end as if they had been planned so."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from training_toys import Collect, Pictures, Reconstruct, Scripted, Toy, Watched, hide, plan, run, seeded

from medood.core.detector import Detector, ImageSpec
from medood.core.errors import TrainingError
from medood.detectors.adversarial.cvad import CVAD
from medood.detectors.adversarial.f_anogan import FAnoGAN
from medood.detectors.one_class.deep_svdd import DeepSVDD
from medood.training.checkpoints.checkpoint import discard_checkpoint
from medood.training.trainer import train

Epochs = int | dict[str, int]


def learn(folder: Path, epochs: Epochs, *, watch: Callable[[str], None] = lambda call: None, resume: bool = False, **changes) -> Watched:
    """Dropout, noise, batch norm, Adam, momentum, a closed form between two phases; no learning rate follows the number of epochs."""
    settings = plan(**{"epochs": epochs, "warmup_epochs": 1, "clip_norm": 1.0} | changes)
    return run(seeded(Watched, watch), folder, settings, held_out=7, augment=hide, resume=resume)


def finish(folder: Path) -> None:
    """What is left of a training once its detector is saved."""
    discard_checkpoint(folder, keep_ends=True)


def assert_same(found: Detector, expected: Detector) -> None:
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def history(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.parametrize(
    ("first", "then", "continued", "anew"),
    [
        (3, 6, "autoencoder", ("bank", "sphere")),
        (3, {"sphere": 5}, "sphere", ()),
        (3, {"autoencoder": 5}, "autoencoder", ("bank", "sphere")),
        ({"autoencoder": 2, "sphere": 4}, {"autoencoder": 2, "sphere": 6}, "sphere", ()),
    ],
    ids=str,
)
def test_a_complete_training_goes_on_to_the_bits_of_one_go(tmp_path, first, then, continued, anew) -> None:
    learn(tmp_path / "longer", first)
    finish(tmp_path / "longer")
    calls: list[str] = []
    found = learn(tmp_path / "longer", then, resume=True, watch=calls.append)
    assert_same(found, learn(tmp_path / "whole", then))
    assert history(tmp_path / "longer") == history(tmp_path / "whole")
    stepped = {call.removeprefix("step ") for call in calls if call.startswith("step")}
    assert stepped == {continued, *anew}
    before = {"autoencoder": first, "sphere": first} if isinstance(first, int) else first
    planned = {"autoencoder": 3, "sphere": 3} | (dict.fromkeys(before, then) if isinstance(then, int) else then)
    assert calls.count(f"step {continued}") == 5 * (planned[continued] - before[continued]), "what was trained is not trained again"


@pytest.mark.parametrize("then", [{"autoencoder": 3, "sphere": 4}, {"autoencoder": 4}], ids=str)
@pytest.mark.parametrize("moment", ["step autoencoder 8", "finish autoencoder 1", "finish bank 1", "begin sphere 1", "step sphere 7"])
def test_an_interrupted_training_goes_on_to_more_epochs(tmp_path, moment, then) -> None:
    name, number = moment.rsplit(" ", 1)
    calls: list[str] = []

    def interrupt(call: str) -> None:
        calls.append(call)
        if calls.count(name) == int(number):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "longer", 2, watch=interrupt)
    found = learn(tmp_path / "longer", then, resume=True)
    assert_same(found, learn(tmp_path / "whole", then))
    assert history(tmp_path / "longer") == history(tmp_path / "whole")


def test_twice_longer_and_interrupted_in_between(tmp_path) -> None:
    learn(tmp_path / "longer", 2)
    finish(tmp_path / "longer")

    def interrupt(call: str) -> None:
        if call == "begin bank":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "longer", 3, resume=True, watch=interrupt)
    found = learn(tmp_path / "longer", 4, resume=True)
    assert_same(found, learn(tmp_path / "whole", 4))
    assert history(tmp_path / "longer") == history(tmp_path / "whole")


def test_stopping_earlier_than_planned_is_possible_where_training_stands(tmp_path) -> None:
    calls: list[str] = []

    def interrupt(call: str) -> None:
        calls.append(call)
        if calls.count("step autoencoder") == 12:  # two epochs are whole
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "shorter", 3, watch=interrupt, warmup_epochs=0)
    with pytest.raises(TrainingError, match=r"'autoencoder' has 2 epochs behind it and cannot go back to 1\. Set training\.epochs to 2"):
        learn(tmp_path / "shorter", {"autoencoder": 1}, resume=True, warmup_epochs=0)
    found = learn(tmp_path / "shorter", 2, resume=True, warmup_epochs=0)
    assert_same(found, learn(tmp_path / "whole", 2, warmup_epochs=0))
    finish(tmp_path / "shorter")
    with pytest.raises(TrainingError, match="cannot go back to 1"):
        learn(tmp_path / "shorter", {"autoencoder": 2, "sphere": 1}, resume=True, warmup_epochs=0)


def test_a_complete_training_of_as_many_epochs_only_solves_its_closed_forms_again(tmp_path) -> None:
    whole = learn(tmp_path, 2)
    before = history(tmp_path)
    finish(tmp_path)
    calls: list[str] = []
    assert_same(learn(tmp_path, 2, resume=True, watch=calls.append), whole)
    assert not any(call.startswith("step") for call in calls)
    assert history(tmp_path) == before


@pytest.mark.parametrize(("first", "then"), [(3, 6), (1, 4), (4, 5)])
def test_a_validation_that_only_the_end_asked_for_does_not_count_in_a_longer_training(tmp_path, first, then) -> None:
    learn(tmp_path / "longer", first, validate_every=2, warmup_epochs=0)
    finish(tmp_path / "longer")
    found = learn(tmp_path / "longer", then, resume=True, validate_every=2, warmup_epochs=0)
    assert_same(found, learn(tmp_path / "whole", then, validate_every=2, warmup_epochs=0))


def script(*losses: float) -> type[Scripted]:
    return type("Script", (Scripted,), {"script": list(losses)})


def test_best_epoch_and_patience_follow(tmp_path) -> None:
    """Epoch 2 is the best of 3, epoch 5 the best of 6; with a patience of 3 the waiting of epoch 3 counts."""
    losses = script(5, 2, 4, 3, 1, 9)
    for patience, best, epochs in ((None, 5, 6), (3, 5, 6), (2, 2, 4)):
        detector = Toy(losses)
        run(detector, tmp_path, plan(batch_size=18, epochs=3, patience=patience), held_out=5)
        assert detector.finished_with == 2
        finish(tmp_path)
        detector = Toy(losses)
        run(detector, tmp_path, plan(batch_size=18, epochs=6, patience=patience), held_out=5, resume=True)
        assert (detector.finished_with, len(history(tmp_path))) == (best, epochs)


def test_a_phase_that_stopped_early_stays_as_it_is_and_the_next_one_goes_on(tmp_path) -> None:
    losses = script(1, 2, 3, 0, 0, 0, 0, 0)
    settings = {"batch_size": 18, "patience": 2}
    whole = run(seeded(Toy, losses, Reconstruct), tmp_path / "whole", plan(epochs=8, **settings), held_out=5)
    run(seeded(Toy, losses, Reconstruct), tmp_path / "longer", plan(epochs=6, **settings), held_out=5)
    finish(tmp_path / "longer")
    found = run(seeded(Toy, losses, Reconstruct), tmp_path / "longer", plan(epochs=8, **settings), held_out=5, resume=True)
    assert_same(found, whole)
    assert history(tmp_path / "longer") == history(tmp_path / "whole")


def test_only_the_number_of_epochs_may_change(tmp_path) -> None:
    learn(tmp_path, 2)
    finish(tmp_path)
    with pytest.raises(TrainingError, match=r"training\.batch_size was 4, is 5.*only training\.epochs may change"):
        learn(tmp_path, 4, resume=True, batch_size=5)


def test_a_schedule_that_follows_the_number_of_epochs_is_stretched_and_that_is_said(tmp_path) -> None:
    rates: list[float] = []

    class Rates(Reconstruct):
        def step(self, batch, update):
            rates.append(self.optimizers["net"].param_groups[0]["lr"])
            return super().step(batch, update)

    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    run(Toy(Rates), tmp_path, plan(batch_size=18, schedule="linear", epochs=2))
    finish(tmp_path)
    run(Toy(Rates), tmp_path, plan(batch_size=18, schedule="linear", epochs=4), resume=True, progress=Progress(console=console))
    assert rates == pytest.approx([0.1, 0.05, 0.05, 0.025])  # halves of 2 epochs, then the last two quarters of 4
    said = console.file.getvalue()
    assert "Going on with phase reconstruct after epoch 2 of 4." in said
    assert "The linear schedule of the learning rate now spans 4 epochs, but the first 2 followed one of 2" in said


def test_without_a_schedule_only_the_place_is_said(tmp_path) -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    run(Toy(Reconstruct, Collect), tmp_path)
    finish(tmp_path)
    run(Toy(Reconstruct, Collect), tmp_path, plan(epochs=4), resume=True, progress=Progress(console=console))
    lines = console.file.getvalue().splitlines()
    assert (
        lines[0] == "Going on with phase reconstruct after epoch 3 of 4; after it, what comes later is trained from its beginning: collect."
    )
    assert "schedule" not in console.file.getvalue()


def test_what_is_kept_is_one_file_a_learning_phase(tmp_path) -> None:
    learn(tmp_path, 2)
    names = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert names == {"training.safetensors", "phase-0.safetensors", "phase-2.safetensors"}
    finish(tmp_path)
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == names - {"training.safetensors"}
    run(Toy(Collect), tmp_path / "closed")
    finish(tmp_path / "closed")
    assert not (tmp_path / "closed" / "checkpoint").exists()


class Textures(Pictures):
    """Smooth images of the side that the detectors of the papers take."""

    def __init__(self, count: int, side: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        coarse = rng.random((count, 1, 8, 8), dtype=np.float32)
        self.values = np.kron(coarse, np.ones((1, 1, side // 8, side // 8), np.float32))
        self.asked = []


PAPERS = {
    "cvad": (32, lambda spec: CVAD(spec, latent=4, width=4, branch_width=4, head="paper")),
    "f_anogan": (64, lambda spec: FAnoGAN(spec, latent=4, width=2, critic_steps=2)),
    "deep_svdd": (32, lambda spec: DeepSVDD(spec, width=2, code=16, warmup_epochs=1, objective="soft_boundary")),
}


@pytest.mark.parametrize(
    ("name", "first", "then", "stepped"),
    [
        (
            "cvad",
            1,
            2,
            (
                "generator",
                "discriminator",
                "scale",
            ),
        ),
        (
            "cvad",
            {"generator": 2, "discriminator": 1},
            {"generator": 2, "discriminator": 2},
            (
                "discriminator",
                "scale",
            ),
        ),
        (
            "f_anogan",
            1,
            2,
            (
                "gan",
                "encoder",
            ),
        ),
        ("f_anogan", {"gan": 2, "encoder": 1}, {"gan": 2, "encoder": 2}, ("encoder",)),
        (
            "deep_svdd",
            2,
            3,
            (
                "autoencoder",
                "centre",
                "svdd",
                "radius",
            ),
        ),
        (
            "deep_svdd",
            {"autoencoder": 2, "svdd": 2},
            {"autoencoder": 2, "svdd": 3},
            (
                "svdd",
                "radius",
            ),
        ),
    ],
    ids=str,
)
def test_detectors_of_several_phases_go_on_with_the_first_that_grows(tmp_path, name, first, then, stepped) -> None:
    side, make = PAPERS[name]

    def fit(folder: Path, epochs: Epochs, resume: bool = False) -> Detector:
        detector = seeded(make, ImageSpec(1, side, side))
        images = Textures(10, side, 0), Textures(4, side, 1)
        train(detector, *images, plan(epochs=epochs), folder, seed=3, device=torch.device("cpu"), resume=resume, progress=False)
        return detector

    fit(tmp_path / "longer", first)
    before = history(tmp_path / "longer")
    finish(tmp_path / "longer")
    found = fit(tmp_path / "longer", then, resume=True)
    assert_same(found, fit(tmp_path / "whole", then))
    after = history(tmp_path / "longer")
    assert after == history(tmp_path / "whole")
    kept = [line for line, old in zip(after, before, strict=False) if line == old]
    done = {line["phase"]: line["epoch"] for line in kept}
    assert {line["phase"] for line in after if line["epoch"] > done.get(line["phase"], 0)} == set(stepped)
