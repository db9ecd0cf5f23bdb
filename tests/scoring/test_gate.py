"""Is this the kind of input that the run was trained on? Facts with known differences, one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medood.core.geometry import Geometry
from medood.core.volume import Entry, Origin, Volume
from medood.data.input_facts import input_facts
from medood.recipe.recipe import Preparation
from medood.scoring.gate import fit_gate, unlike_training
from medood.transforms.pipeline import Pipeline

AXIAL = np.diag([-1.0, -1.0, 3.0, 1.0])
SAGITTAL = np.array([[0.0, 0.0, 3.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0, 0, 0, 1]])


def facts(affine: np.ndarray = AXIAL, modality: str = "MR", level: float = 0.5, radius: float = 0.8, seed: int = 0) -> dict[str, Any]:
    """Facts of a disc of noise around `level` on 0, as a run with an image size of 32 sees it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    image = np.where(x**2 + y**2 < radius**2, np.clip(rng.normal(level, 0.05, (1, 4, 32, 32)), 0.01, 1), 0.0).astype(np.float32)
    volume = Volume(Entry("x", (), "p", slices=4, origin=Origin(modality)), image, Geometry(affine, (4, 32, 32)), np.zeros(4, np.int8))
    prepared = Pipeline(Preparation(size=(32, 32), background=0.0)).prepare(volume)
    return input_facts(volume, prepared, 0.0)


GATE = fit_gate([facts(seed=seed, level=0.45 + 0.02 * seed) for seed in range(5)])


def test_another_volume_of_the_same_kind_passes() -> None:
    assert unlike_training(GATE, facts(seed=9, level=0.5), plane_is_chosen=False) == []


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (facts(modality="CT"), "modality CT, trained on MR"),
        (facts(affine=SAGITTAL), "sagittal plane, trained on axial"),
        (facts(affine=np.diag([-2.0, -2.0, 3.0, 1.0])), "pixels of 2.00 x 2.00 mm"),
        (facts(level=0.9), "grey values"),
        (facts(radius=0.3), "the body fills 7% of the image"),
        (facts() | {"channels": 3}, "a colour image, trained on grey ones"),
    ],
    ids=["modality", "plane", "spacing", "grey values", "body", "colour"],
)
def test_each_difference_is_named_and_nothing_else(other: dict[str, Any], reason: str) -> None:
    (found,) = unlike_training(GATE, other, plane_is_chosen=False)
    assert reason in found


def test_the_plane_of_acquisition_does_not_matter_when_the_transforms_choose_one() -> None:
    assert unlike_training(GATE, facts(affine=SAGITTAL), plane_is_chosen=True) == []


def test_what_a_file_does_not_say_is_not_held_against_it() -> None:
    unknown = facts(modality="") | {"pixel_mm": None}
    assert unlike_training(GATE, unknown, plane_is_chosen=False) == []
