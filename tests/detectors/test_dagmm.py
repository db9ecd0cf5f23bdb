"""DAGMM on networks made by hand: what it describes images by, and which images its mixture rests on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from sklearn.mixture import GaussianMixture
from torch import Tensor

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.density.dagmm import DAGMM
from medood.nets.images.signed import signed

SPEC = ImageSpec(1, 32, 32, 0.0, 1.0, background=0.0)


def small(**parameters: Any) -> DAGMM:
    return build(lambda: DAGMM(SPEC, **{"width": 4, "code": 2, **parameters}))


def fitted_mixture(detector: DAGMM, images: Tensor, size: int) -> tuple[Tensor, ...]:
    """The mixture after its phase, in batches of this size."""
    phase = detector.eval().phases()[1]
    with torch.no_grad():
        phase.begin()
        for part in images.split(size):
            phase.step(Batch(part), phase.update)
        phase.finish()
    return detector.weights_.clone(), detector.means_.clone(), detector.factors_.clone()


def test_an_image_is_described_by_its_code_its_relative_error_and_its_cosine() -> None:
    detector = small().eval()
    images = signed(phantoms(SPEC, 3, seed=1), SPEC)
    with torch.no_grad():
        rows, drawn = detector.described(images)
        assert torch.equal(rows[:, :2], detector.coder(images))
    for row, image, made in zip(rows, images.flatten(1), drawn.flatten(1), strict=True):
        assert float(row[2]) == pytest.approx(float((image - made).norm() / image.norm()), rel=1e-4)
        assert float(row[3]) == pytest.approx(float(image @ made / image.norm() / made.norm()), rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_images_of_one_value_have_finite_descriptions_and_derivatives(value: float) -> None:
    """Where the range is -1..1, those of 0.5 have no length at all."""
    detector = small()
    rows, _ = detector.described(signed(torch.full((2, *SPEC.shape), value), SPEC))
    rows.sum().backward()
    assert bool(rows.isfinite().all())
    assert all(bool(parameter.grad.isfinite().all()) for parameter in detector.coder.parameters())


def test_the_mixture_is_that_of_all_training_images_whatever_their_batches() -> None:
    detector, images = small(components=2), phantoms(SPEC, 50, seed=1)
    whole = fitted_mixture(detector, images, 50)
    for size in (16, 7):  # the last batch has 2 images, then 1
        for one, other in zip(whole, fitted_mixture(detector, images, size), strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        rows, _ = detector.described(signed(images, SPEC))
        shares = detector.chooser(rows).softmax(1)
    reference = GaussianMixture(2, reg_covar=1e-3)
    reference._initialize(rows.double().numpy(), shares.double().numpy())
    test = phantoms(SPEC, 20, seed=2)
    with torch.no_grad():
        others, _ = detector.described(signed(test, SPEC))
    expected = -reference.score_samples(others.double().numpy())
    assert detector.mark_fitted().score(test).image.numpy() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_nothing_random_is_added_when_it_scores() -> None:
    detector = Training(1).fit(small(), phantoms(SPEC, 32, seed=1))
    images = phantoms(SPEC, 4, seed=2)
    torch.manual_seed(0)
    one = detector.score(images).image
    torch.manual_seed(1)
    assert torch.equal(one, detector.score(images).image)


def test_odd_images_far_apart_have_no_common_highest_score() -> None:
    detector, images = small(), phantoms(SPEC, 32, seed=1)
    fitted_mixture(detector, images, 16)
    detector.mark_fitted()
    with torch.no_grad():
        detector.coder[-1].weight *= 1e4  # codes far from all that the mixture has seen
    scores = detector.score(torch.cat([images[:4], torch.rand((4, *SPEC.shape))])).image
    assert bool(scores.isfinite().all())
    assert len(scores.unique()) == 8
    assert float(scores.min()) > 100


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(MedoodError, match="below 1"):
        small(dropout=1.0)
    detector = small()
    with torch.no_grad():
        detector.coder[-1].weight.fill_(torch.nan)
    with pytest.raises(TrainingError, match="diverged"):
        fitted_mixture(detector, phantoms(SPEC, 4, seed=1), 4)
