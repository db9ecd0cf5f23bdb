"""Scoring in bfloat16: who can, what is rounded and what is not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor, nn

from medood.artefacts.carried import carry
from medood.core.detector import Batch, Detector, ImageSpec, Scores
from medood.core.errors import MedoodError
from medood.detectors.adversarial.f_anogan import FAnoGAN
from medood.detectors.adversarial.patch_gan import PatchGAN
from medood.detectors.self_supervised.csi import Csi, contrastive_loss
from medood.detectors.self_supervised.geo_trans import GeoTrans
from medood.detectors.self_supervised.goad import Goad, too_far
from medood.detectors.self_supervised.rot_trans import RotTrans
from medood.nets.error_maps import dissimilarity
from medood.nets.images.poisson import solved
from medood.nets.images.views import draw_views, view
from medood.recipe import catalogue
from medood.recipe.building import build_detector
from medood.recipe.loading import load_recipe
from medood.transforms.mask_boxes import MaskBoxes

SPEC = ImageSpec(1, 64, 64, 0.0, 1.0, background=0.0)


SMALL: dict[type[Detector], dict[str, Any]] = {
    FAnoGAN: {"width": 4, "latent": 8},
    PatchGAN: {"width": 4, "discriminator_width": 4},
    GeoTrans: {"transforms": "turns", "width": 1},
    RotTrans: {"transforms": "turns", "depth": 10, "width": 1, "learning_rate": 0.01},
    Goad: {"transforms": "turns", "width": 1},
    Csi: {"width": 4, "views": 2, "learning_rate": 0.01},
}


def test_the_catalogue_says_who_can_and_all_of_them_are_tried_here() -> None:
    assert {card.load() for card in catalogue.detectors().values() if card.can_round} == set(SMALL)
    assert all(card.load().can_round == card.can_round for card in catalogue.detectors().values())


def fitted(kind: type[Detector]) -> Any:
    detector = build(lambda: kind(SPEC, **SMALL[kind]))
    return Training(1, MaskBoxes() if kind is PatchGAN else None).fit(detector, phantoms(SPEC, 32, seed=1))


@pytest.mark.parametrize("kind", SMALL)
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
    for name, value in results(rounded).items():
        before = results(whole)[name]
        assert value.dtype == torch.float32
        assert not torch.equal(value, before)
        assert (value - before).abs().max() <= 0.1 * before.abs().max()
    assert not torch.equal(rounded.image, rounded.image.bfloat16().float())  # scores have all their digits
    types.clear()
    assert bool(detector.reconstructions(images)) == (kind in (FAnoGAN, PatchGAN)) == (torch.bfloat16 in types)


def results(scores: Scores) -> dict[str, Tensor]:
    return {"image": scores.image, **scores.parts} | ({} if scores.map is None else {"map": scores.map})


IMAGES, CODES = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0)), torch.linspace(0, 0.3, 288 * 64).view(288, 64).sin()
DIFFERENCES: dict[str, Callable[[], Tensor]] = {
    "distances of GOAD": lambda: too_far(CODES, CODES.view(4, 72, 64).mean(0), torch.arange(72).repeat(4), 0.1),
    "similarities of CSI": lambda: contrastive_loss(CODES[:10], CODES[5:15], 0.5),
    "variances in SSIM": lambda: dissimilarity(IMAGES, 0.9 * IMAGES + 0.05),
    "seams of pasted anomalies": lambda: solved(IMAGES[0]),
    "places and colours of views": lambda: view(IMAGES, VIEWS),
}
VIEWS = draw_views(2)


@pytest.mark.parametrize("what", DIFFERENCES)
def test_small_differences_are_not_rounded_while_a_training_rounds(what: str) -> None:
    exact = DIFFERENCES[what]()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(DIFFERENCES[what](), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [GeoTrans, RotTrans, Goad, Csi])
def test_normal_images_that_scores_are_compared_with_are_rounded_as_they_are(kind: type[Detector]) -> None:
    """Otherwise all scores and maps would be off by what rounding does to a mean."""
    detector, types = fitted(kind), set()
    detector.rounds = True
    convolution = next(module for module in detector.modules() if isinstance(module, nn.Conv2d))
    convolution.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    with detector.at_rest():
        for phase in (each for each in detector.phases() if not each.optimizers):
            phase.begin()
            phase.step(Batch(phantoms(SPEC, 4, seed=2)), lambda loss, name: None)
    assert types == {torch.bfloat16}


@pytest.mark.parametrize("name", ["isic_fanogan", "isic_patchgan", "isic_geotrans"])
def test_a_recipe_says_so_for_calibration_and_scoring_alike(name: str) -> None:
    small = ["transforms.size=[64, 64]", "detector.width=2"]
    assert not build_detector(load_recipe(name, small)).rounds
    assert build_detector(load_recipe(name, [*small, "scoring.precision=bfloat16"])).rounds


def test_of_an_ensemble_those_round_who_can() -> None:
    members = "{name: ensemble, members: [{name: one_class_svm}, {name: geo_trans, transforms: shifts, depth: 10, width: 1}]}"
    changes = ["transforms.size=[64, 64]", f"detector={members}", "scoring.precision=bfloat16"]
    built: Any = build_detector(load_recipe("isic_ae", changes))
    assert [member.rounds for member in built.members] == [False, True]


def test_with_a_map_by_occlusion_a_detector_rounds_too() -> None:
    changes = ["transforms.size=[64, 64]", "detector.width=2", "occlusion={}", "scoring.precision=bfloat16"]
    built = build_detector(load_recipe("rsna_csi", changes))
    assert [part.rounds for part in built.modules() if isinstance(part, Csi)] == [True]


def test_a_detector_that_needs_all_digits_says_so() -> None:
    recipe = load_recipe("isic_ae", ["scoring.precision=bfloat16"])
    with pytest.raises(MedoodError, match=r"scoring\.precision: bfloat16 is not for Autoencoder"):
        build_detector(recipe)


def test_a_run_that_rounds_does_not_leave() -> None:
    run: Any = SimpleNamespace(recipe=load_recipe("isic_patchgan", ["scoring.precision=bfloat16"]))
    with pytest.raises(MedoodError, match=r"computed in bfloat16.*`scoring\.precision: float32`"):
        carry(run, [])
