"""The reconstructions that each detector shows are the ones that it scores."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detector_trials import build, phantoms
from torch import Tensor

from medood.core.detector import Detector, ImageSpec
from medood.recipe.catalogue import detectors

UNIT = ImageSpec(1, 64, 64)
WIDE = ImageSpec(1, 64, 64, -200.0, 1000.0)
SMALL_CASCADE = {"width": 4, "latent": 8, "branch_width": 8}


def untrained(name: str, spec: ImageSpec, **parameters: Any) -> Detector:
    """A detector with its first weights, that scores all the same."""
    detector = build(lambda: detectors()[name].load()(spec, **parameters))
    detector.fitted_.fill_(True)
    return detector


def squared(image: Tensor, made: Tensor) -> Tensor:
    return (image - made).square().mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("autoencoder", {"width": 4}),
        ("vae", {"width": 4}),
        ("cvad", SMALL_CASCADE),
        ("cvad", SMALL_CASCADE | {"combine": "logit_sum"}),
        ("pch_vae", SMALL_CASCADE),
        ("patch_gan", {"width": 4, "discriminator_width": 4, "passes": 4, "blur": 0.0}),
        ("patch_gan", {"width": 4, "discriminator_width": 4, "reading": "crop32"}),
    ],
)
def test_the_map_is_the_squared_difference_of_the_image_and_the_last_reconstruction(name: str, parameters: Any) -> None:
    detector, images = untrained(name, UNIT, **parameters), phantoms(UNIT, 2, seed=2)
    made = detector.reconstructions(images)
    torch.testing.assert_close(squared(images, list(made.values())[-1]), detector.score(images).map)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ganomaly", {"width": 4}),
        ("f_anogan", {"width": 2, "latent": 8}),
        ("alocc", {"refiner_width": 4, "discriminator_width": 4}),
    ],
)
def test_networks_of_minus_one_to_one_are_shown_in_the_range_of_the_images(name: str, parameters: Any) -> None:
    detector, images = untrained(name, WIDE, **parameters), phantoms(WIDE, 2, seed=2)
    (made,) = detector.reconstructions(images).values()
    residual = (images - made).abs()
    torch.testing.assert_close(residual, detector.score(images).map, rtol=1e-4, atol=0.01)


def test_cvad_shows_the_branch_the_main_vae_and_both_in_the_order_of_the_paper() -> None:
    detector: Any = untrained("cvad", UNIT, **SMALL_CASCADE)
    images = phantoms(UNIT, 2, seed=2)
    made = detector.reconstructions(images)
    assert [title.split()[0] for title in made] == ["x2'", "x1'", "x'"]
    with torch.no_grad():
        seen = detector.eval().generator(images)
    branch, main, both = made.values()
    torch.testing.assert_close(branch, seen.detail.sigmoid())
    torch.testing.assert_close(main, seen.coarse.sigmoid())
    torch.testing.assert_close(both, (branch + main) / 2)
    assert not torch.allclose(branch, main)


def test_pch_vae_shows_the_details_the_coarse_image_and_both() -> None:
    detector = untrained("pch_vae", UNIT, **SMALL_CASCADE, score="coarse")
    images = phantoms(UNIT, 2, seed=2)
    made = detector.reconstructions(images)
    assert [title.split()[0] for title in made] == ["x2'", "x1'", "x'"]
    details, coarse, both = made.values()
    torch.testing.assert_close(squared(images, coarse), detector.score(images).map)
    torch.testing.assert_close(both.logit(), details.logit() + coarse.logit(), rtol=1e-3, atol=1e-3)


def test_what_a_network_puts_outside_the_range_is_cut_off() -> None:
    spec = ImageSpec(1, 64, 64, -1.0, 1.0)
    detector: Any = untrained("autoencoder", spec, architecture="medianomaly", width=4)
    torch.nn.init.constant_(detector.network[-1][-1].conv.bias, 5.0)
    (made,) = detector.reconstructions(phantoms(spec, 2, seed=2)).values()
    assert (made == 1.0).float().mean() > 0.9


@pytest.mark.parametrize("name", ["deep_svdd", "one_class_svm"])
def test_methods_that_do_not_reconstruct_show_nothing(name: str) -> None:
    assert untrained(name, UNIT).reconstructions(phantoms(UNIT, 2, seed=2)) == {}
