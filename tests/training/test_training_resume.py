"""A training that was killed goes on to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toys import Reconstruct, Scripted, Toy, Watched, hide, plan, run, seeded, train_watched

from medood.core.detector import Phase
from medood.core.errors import TrainingError
from medood.training.checkpoints.checkpoint import discard_checkpoint

CHECKPOINT = Path("checkpoint") / "training.safetensors"
# 18 images in batches of 4: 5 iterations an epoch. Checkpoints: at the start, after every epoch of a learning phase, after every phase.
MOMENTS = [
    ("step autoencoder", 2),  # in the first epoch
    ("step autoencoder", 8),  # in the middle of the second
    ("validate autoencoder", 5),  # an epoch's steps are done, its checkpoint is not written
    ("write checkpoint", 4),  # half of the last epoch's file is written
    ("finish autoencoder", 1),
    ("step bank", 3),
    ("finish bank", 1),
    ("begin sphere", 1),
    ("step sphere", 12),
]


def weights(detector: Watched) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in detector.state_dict().items()}


def assert_same(found: Watched, expected: dict[str, torch.Tensor]) -> None:
    state = found.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


def history(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], list[dict[str, object]]]:
    """Weights and history of a training that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    return weights(train_watched(folder)), history(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """Folders of trainings that were killed at each of the moments."""
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    child = Path(__file__).parents[1] / "support" / "resume_child.py"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(child.parent.parent), os.environ.get("PYTHONPATH", "")])}
    folders = {moment: tmp_path_factory.mktemp("killed") for moment in MOMENTS}
    arguments = [text for (call, number), folder in folders.items() for text in (str(folder), call, str(number))]
    subprocess.run([sys.executable, str(child), *arguments], env=environment, check=True, timeout=300)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{moment[0]} {moment[1]}")
def test_killed_training_resumes_to_the_same_bits(moment, killed, whole) -> None:
    folder, (expected, expected_history) = killed[moment], whole
    calls: list[str] = []

    found = train_watched(folder, resume=True, watch=calls.append)

    assert_same(found, expected)
    assert history(folder) == expected_history
    assert sum(call.startswith("step") for call in calls) <= 35  # it went on and did not begin anew, except where nothing was done
    if moment[0].endswith("sphere"):
        assert not any("autoencoder" in call or "bank" in call for call in calls)
    assert {path.stem for path in (folder / "checkpoint").iterdir()} == {"training", "phase-0", "phase-2"}


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment[0] != "write checkpoint"], ids=str)
def test_interrupted_by_the_keyboard(moment, tmp_path, whole) -> None:
    calls: list[str] = []

    def interrupt(call: str) -> None:
        calls.append(call)
        if calls.count(moment[0]) == moment[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_watched(tmp_path, watch=interrupt)
    assert_same(train_watched(tmp_path, resume=True), whole[0])
    assert history(tmp_path) == whole[1]


@pytest.mark.parametrize(
    ("losses", "patience", "best", "last"), [((5, 2, 4, 3, 6, 7), None, 2, 6), ((5, 2, 4, 3, 6, 1), 3, 2, 5), ((5, 4, 3, 3, 1, 2), 2, 5, 6)]
)
@pytest.mark.parametrize("stop", [3, 4, 5, "finish"])
def test_best_epoch_and_patience_survive(losses, patience, best, last, stop, tmp_path) -> None:
    """`stop` is the epoch that is not completed at first; "finish" comes after the last checkpoint inside the phase."""

    class Stops(Scripted):
        script = list(losses)
        steps = 0

        def step(self, batch, update):
            if self.epoch + 1 == stop:
                raise KeyboardInterrupt
            type(self).steps += 1
            return super().step(batch, update)

        def finish(self) -> None:
            if stop == "finish":
                raise KeyboardInterrupt
            super().finish()

    settings = plan(batch_size=18, patience=patience)
    with pytest.raises(KeyboardInterrupt):
        run(Toy(Stops), tmp_path, settings, held_out=5)
    stop = None
    detector = Toy(Stops)
    run(detector, tmp_path, settings, held_out=5, resume=True)
    assert detector.finished_with == best
    assert Stops.steps == last


def test_resuming_a_finished_training_gives_the_trained_detector(tmp_path, whole) -> None:
    train_watched(tmp_path)
    calls: list[str] = []
    found = train_watched(tmp_path, resume=True, watch=calls.append)
    assert calls == []
    assert_same(found, whole[0])
    assert bool(found.fitted_)
    assert not found.training


def test_resume_with_nothing_to_resume_starts(tmp_path, whole) -> None:
    assert_same(train_watched(tmp_path, resume=True), whole[0])


def test_without_resume_training_begins_anew(tmp_path, whole) -> None:
    train_watched(tmp_path, epochs={"sphere": 2})
    assert_same(train_watched(tmp_path), whole[0])
    assert history(tmp_path) == whole[1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": plan(batch_size=5)}, "training.batch_size was 4, is 5"),
        ({"seed": 4}, "seed was 3, is 4"),
        ({"images": 19}, "number of training images was 18, is 19"),
        ({"detector": lambda: Toy(Reconstruct, net=torch.nn.Linear(36, 36, bias=False))}, r"parameter.net.bias was \[36\], is None"),
        ({"detector": lambda: Larger(Reconstruct)}, r"parameter.more was None, is \[2\]"),
        ({"detector": lambda: Toy(Faster)}, "phase.reconstruct.optimizer.net.*0.2"),
    ],
)
def test_resuming_with_another_recipe_is_refused(tmp_path, changes, sentence) -> None:
    run(Toy(Reconstruct), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    detector = changes.pop("detector", lambda: Toy(Reconstruct))()
    with pytest.raises(TrainingError, match=sentence):
        run(detector, tmp_path, resume=True, **changes)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


class Faster(Reconstruct):
    def __init__(self, detector: Toy) -> None:
        super().__init__(detector)
        self.optimizers["net"].param_groups[0]["lr"] = 0.2


class Larger(Toy):
    def __init__(self, *phases: Callable[[Any], Phase]) -> None:
        super().__init__(*phases)
        self.more = torch.nn.Parameter(torch.zeros(2))


def test_turning_tensorboard_on_is_no_other_recipe(tmp_path) -> None:
    train_watched(tmp_path)
    train_watched(tmp_path, resume=True, tensorboard=True)


def test_damaged_checkpoint_is_named(tmp_path) -> None:
    run(Toy(Reconstruct), tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=r"damaged.*without --resume"):
        run(Toy(Reconstruct), tmp_path, resume=True)


def test_discard_removes_the_checkpoint_alone(tmp_path) -> None:
    run(Toy(Reconstruct), tmp_path)
    discard_checkpoint(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]
    discard_checkpoint(tmp_path)


def test_toy_of_these_tests_depends_on_what_a_restart_could_lose(tmp_path, whole) -> None:
    """Otherwise equality above would prove nothing."""
    settings = plan(schedule="cosine", warmup_epochs=1, clip_norm=1.0, precision="bfloat16")
    for changes in ({"seed": 4}, {"augment": lambda sample, seed: hide(sample, 0)}, {"images": 17}):
        options = {"augment": hide, "held_out": 7} | changes
        found = run(seeded(Watched), tmp_path, settings, **options).state_dict()
        assert not torch.equal(found["head.weight"], whole[0]["head.weight"])
