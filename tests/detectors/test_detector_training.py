"""Every detector of the catalogue in the trainer itself: with hardly any images, and stopped and resumed in each of its phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import brighter_side, phantoms
from test_detector_contract import ALL_CASES, Case, make, spec_of
from torch import Tensor

from medood.core.detector import Detector, ImageSpec, Phase
from medood.recipe.recipe import Training
from medood.training.contrast import made_of
from medood.training.trainer import train
from medood.transforms.pipeline import augmentation


class Pictures:
    """Phantoms in memory, of two classes."""

    def __init__(self, spec: ImageSpec, count: int, seed: int) -> None:
        self.values = phantoms(spec, count, seed)
        self.classes = brighter_side(self.values).numpy()

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, numbers: np.ndarray) -> Tensor:
        return self.values[numbers]


def run(
    case: Case, folder: Path, detector: Detector | None = None, *, images: int, batch_size: int, epochs: int, **options: Any
) -> Detector:
    spec = spec_of_training(case)
    detector = detector or make(case, spec)
    learning = {phase.name: epochs for phase in detector.phases() if phase.optimizers}
    plan = Training(batch_size=batch_size, epochs=learning or None, schedule="cosine", tensorboard=False)
    augment = augmentation([{"mask_boxes": {"tile": case.tile}}])
    settings = {"seed": 3, "device": torch.device("cpu"), "augment": augment, "progress": False} | options
    held_out = max(3, *(phase.held_out for phase in detector.phases()))
    pictures = Pictures(spec, images, seed=1), Pictures(spec, held_out, seed=2)
    if detector.learns_from_contrast:
        settings["contrast"] = made_of("synthetic", *pictures, spec, seed=3)
    train(detector, *pictures, plan, folder, **settings)
    return detector


def spec_of_training(case: Case) -> ImageSpec:
    return replace(spec_of(case), background=None)  # every crop of so few images counts


@pytest.fixture(params=ALL_CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.mark.parametrize(("images", "batch_size"), [(5, 64), (5, 4), (2, 16)])
def test_fewer_images_than_a_batch_and_a_last_batch_of_one(case: Case, images: int, batch_size: int, tmp_path: Path) -> None:
    detector = run(case, tmp_path, images=images, batch_size=batch_size, epochs=1)
    scores = detector.score(phantoms(spec_of_training(case), 1, seed=4))
    assert scores.image.shape == (1,)
    assert torch.isfinite(scores.image).all()


class Stopped(Exception):
    """As if the machine had gone down."""


def stop_in_second_epoch(detector: Detector, name: str, batches: int) -> None:
    """Make the phase of that name end in the middle of its second epoch."""
    phases = detector.phases

    def watched() -> Sequence[Phase]:
        made = phases()
        for phase in made:
            if phase.name == name:
                phase.step = stopping(phase.step, batches + 1)
        return made

    detector.phases = watched


def stopping(step: Callable[..., Any], calls: int) -> Callable[..., Any]:
    left = calls

    def stop(*arguments: Any) -> Any:
        nonlocal left
        if left == 0:
            raise Stopped
        left -= 1
        return step(*arguments)

    return stop


def test_stopped_in_any_phase_it_resumes_to_the_same_bits(case: Case, tmp_path: Path) -> None:
    small = {"images": 10, "batch_size": 4, "epochs": 2}  # batches of 4, 4 and 2
    whole = run(case, tmp_path / "whole", **small)
    expected = whole.state_dict()
    for phase in whole.phases():
        if phase.optimizers:
            folder = tmp_path / phase.name
            stopped = make(case, spec_of_training(case))
            stop_in_second_epoch(stopped, phase.name, batches=3)
            with pytest.raises(Stopped):
                run(case, folder, stopped, **small)
            found = run(case, folder, resume=True, **small).state_dict()
            assert found.keys() == expected.keys()
            assert [name for name in expected if not torch.equal(found[name], expected[name])] == [], phase.name
