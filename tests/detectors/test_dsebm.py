"""The energy-based model: its slope by finite differences, and networks made by hand for which everything is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms

from medood.core.detector import Batch, ImageSpec
from medood.detectors.density.dsebm import DSEBM
from medood.nets.images.signed import signed

SPEC = ImageSpec(1, 16, 16, 0.0, 1.0, background=0.0)


def small(**parameters: Any) -> DSEBM:
    return build(lambda: DSEBM(SPEC, **{"width": 4, "code": 8, **parameters}))


def without_units(detector: DSEBM) -> DSEBM:
    """Every unit the same for every image: what is left of the energy is |x - b|^2 / 2."""
    with torch.no_grad():
        detector.coder[-1].weight.zero_()
        detector.centre.copy_(torch.rand(SPEC.shape) - 0.5)
    return detector.mark_fitted()


def test_without_units_the_energy_is_the_distance_from_the_image_that_is_learned() -> None:
    detector = without_units(small(units="relu"))
    images = phantoms(SPEC, 3, seed=1)
    scores, apart = detector.score(images), (signed(images, SPEC) - detector.centre).detach()
    assert torch.allclose(scores.parts["energy"], apart.square().mean((1, 2, 3)) / 2, atol=1e-6)
    assert torch.allclose(scores.parts["reconstruction"], apart.square().mean((1, 2, 3)), atol=1e-6)
    assert torch.allclose(scores.map, apart.abs(), atol=1e-6)
    made = detector.reconstructions(images)["x' (one step down)"]
    assert torch.allclose(made, ((detector.centre.detach() + 1) / 2).expand(3, -1, -1, -1), atol=1e-6)


@pytest.mark.parametrize("units", ["softplus", "relu"])
@pytest.mark.parametrize("norm", ["batch", "image"])
def test_the_map_is_the_derivative_of_the_energy(units: str, norm: str) -> None:
    detector = small(units=units, norm=norm).double().mark_fitted()
    images = phantoms(SPEC, 2, seed=2).double()
    scores = detector.score(images)
    for row, column in ((8, 8), (5, 10)):
        step = torch.zeros_like(images)
        step[:, :, row, column] = 1e-6
        above, below = (detector.score(images + sign * step).parts["energy"] * images[0].numel() for sign in (1, -1))
        slope = (above - below).abs() / 2e-6 / 2  # the network sees twice the step
        assert scores.map[:, 0, row, column].numpy() == pytest.approx(slope.numpy(), rel=1e-4, abs=1e-6)


def test_which_score_counts_is_a_choice_among_the_parts() -> None:
    images = phantoms(SPEC, 3, seed=1)
    for name in ("energy", "reconstruction"):
        scores = small(score=name).mark_fitted().score(images)
        assert torch.equal(scores.image, scores.parts[name])


def test_with_relu_the_last_shifts_are_not_learned_because_they_could_not_be() -> None:
    """The slope of planes does not know how high they are; only norms, which divide by what they see, bend them."""
    detector = small(units="relu")
    detector.requires_grad_(True)
    detector.train()
    detector.losses(signed(phantoms(SPEC, 8, seed=1), SPEC)).mean().backward()
    shifts = {"coder.4.bias", "coder.7.bias"}
    dead = {name for name, parameter in detector.named_parameters() if parameter.grad is None or not bool((parameter.grad != 0).any())}
    assert dead == shifts
    assert {name for name, parameter in small(units="relu").named_parameters() if not parameter.requires_grad} == shifts
    assert all(parameter.requires_grad for parameter in small(units="softplus").parameters())


def test_norm_over_the_image_leaves_the_slope_free_of_other_images_in_training_too() -> None:
    images = signed(phantoms(SPEC, 6, seed=1), SPEC)
    for norm, free in (("image", True), ("batch", False)):
        detector = small(norm=norm).train()
        together, _ = detector.slope(images)
        alone, _ = detector.slope(images[:2])
        assert torch.allclose(together[:2], alone, atol=1e-5) == free


def test_the_step_learns_to_take_noise_away() -> None:
    held_out, losses = Batch(phantoms(SPEC, 32, seed=2)), {}
    for epochs in (0, 25):
        detector = Training(epochs).fit(small(learning_rate=3e-3), phantoms(SPEC, 48, seed=1))
        losses[epochs] = float(detector.phases()[0].validate(held_out).mean())
    assert losses[25] < 0.9 * losses[0]
