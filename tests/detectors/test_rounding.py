"""Scoring in bfloat16: who can, what is rounded and what is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor, nn

from medood.artefacts.carried import carry
from medood.core.detector import Detector, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.adversarial.f_anogan import FAnoGAN
from medood.detectors.adversarial.patch_gan import PatchGAN
from medood.recipe.building import build_detector
from medood.recipe.loading import load_recipe
from medood.transforms.mask_boxes import MaskBoxes

SPEC = ImageSpec(1, 64, 64, 0.0, 1.0, background=0.0)


def fitted(kind: type[Detector]) -> Any:
    if kind is FAnoGAN:
        return Training(1).fit(build(lambda: FAnoGAN(SPEC, width=4, latent=8)), phantoms(SPEC, 32, seed=1))
    detector = build(lambda: PatchGAN(SPEC, width=4, discriminator_width=4))
    return Training(1, MaskBoxes()).fit(detector, phantoms(SPEC, 32, seed=1))


@pytest.mark.parametrize("kind", [FAnoGAN, PatchGAN])
def test_networks_round_and_what_is_made_of_their_results_does_not(kind: type[Detector]) -> None:
    detector, images = fitted(kind), phantoms(SPEC, 4, seed=2)
    whole = detector.score(images)
    types: set[torch.dtype] = set()

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        types.add(output.dtype)

    for module in detector.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(note)
    detector.rounds = True
    rounded = detector.score(images)
    assert torch.bfloat16 in types
    for name, value in {"image": rounded.image, "map": rounded.map, **rounded.parts}.items():
        before = {"image": whole.image, "map": whole.map, **whole.parts}[name]
        assert value.dtype == torch.float32
        assert not torch.equal(value, before)
        assert (value - before).abs().max() <= 0.1 * before.abs().max()
    assert not torch.equal(rounded.image, rounded.image.bfloat16().float())  # scores have all their digits
    types.clear()
    detector.reconstructions(images)
    assert torch.bfloat16 in types


@pytest.mark.parametrize("name", ["isic_fanogan", "isic_patchgan"])
def test_a_recipe_says_so_for_calibration_and_scoring_alike(name: str) -> None:
    small = ["transforms.size=[64, 64]", "detector.width=2"]
    assert not build_detector(load_recipe(name, small)).rounds
    assert build_detector(load_recipe(name, [*small, "scoring.precision=bfloat16"])).rounds


def test_a_detector_that_needs_all_digits_says_so() -> None:
    recipe = load_recipe("isic_ae", ["scoring.precision=bfloat16"])
    with pytest.raises(MedoodError, match=r"scoring\.precision: bfloat16 is not for Autoencoder"):
        build_detector(recipe)


def test_a_run_that_rounds_does_not_leave() -> None:
    run: Any = SimpleNamespace(recipe=load_recipe("isic_patchgan", ["scoring.precision=bfloat16"]))
    with pytest.raises(MedoodError, match=r"computed in bfloat16.*`scoring\.precision: float32`"):
        carry(run, [])
