"""Medians and spreads of the normal images against those that the images were drawn with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training
from torch import Tensor

from medood.core.detector import ImageSpec
from medood.core.errors import TrainingError
from medood.detectors.density.intensity import Intensity

SPEC = ImageSpec(1, 24, 16, -1.0, 1.0, background=-1.0)
MEDIAN = torch.linspace(-0.5, 0.5, 24)[:, None].expand(24, 16)
SPREAD = torch.linspace(0.06, 0.15, 16).expand(24, 16)


def drawn(count: int, seed: int, outside: bool = True) -> Tensor:
    """Images whose every place has a normal distribution of its own, with a few outliers; the last four columns are background."""
    random = torch.Generator().manual_seed(seed)
    images = MEDIAN + SPREAD * torch.randn((count, 1, 24, 16), generator=random)
    images = torch.where(torch.rand(images.shape, generator=random) < 0.02, 0.99, images).clamp(-0.99, 0.99)
    if outside:
        images[..., 12:] = -1.0
    return images


def fitted(images: Tensor, spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    return Training(1).fit(Intensity(spec, **parameters), images)


def test_the_atlas_has_the_median_and_the_spread_of_every_place() -> None:
    detector = fitted(drawn(2000, seed=0), smooth=0.0)
    assert (detector.middle_[0] - MEDIAN)[:, :12].abs().max() < 0.02
    assert (detector.spread_[0] / SPREAD)[:, :12].sub(1).abs().max() < 0.15


def test_a_place_without_body_has_the_values_of_the_whole_body() -> None:
    images = drawn(200, seed=0)
    detector = fitted(images, smooth=0.0)
    body = images[..., :12]
    assert detector.middle_[0, 10, 14] == pytest.approx(float(body.median()), abs=0.01)
    first, third = np.percentile(body.numpy(), (25, 75))
    assert detector.spread_[0, 10, 14] == pytest.approx((third - first) / 1.349, abs=0.01)


def test_the_reference_of_values_is_the_whole_body() -> None:
    images = drawn(200, seed=0)
    detector = fitted(images, reference="value", side="higher")
    body = images[..., :12].numpy()
    first, middle, third = np.percentile(body, (25, 50, 75))
    test = drawn(3, seed=1)
    expected = (test[..., :12] - middle) / ((third - first) / 1.349)
    heat = detector.score(test).map
    assert (heat[..., :12] - expected).abs().max() < 0.1
    assert (heat[..., 12:] == 0).all()


def test_smoothing_makes_up_for_few_images() -> None:
    few = drawn(6, seed=0)
    errors = [(fitted(few, smooth=smooth).middle_[0] - MEDIAN)[4:-4, 2:10].abs().mean() for smooth in (0.0, 0.06)]
    assert errors[1] < 0.5 * errors[0]


def test_the_neighbourhood_joins_the_spread_where_anatomy_differs_from_place_to_place() -> None:
    images = drawn(200, seed=0)
    sharp, smooth = (fitted(images, smooth=value).spread_[0, 4:20, 2:10].mean() for value in (0.0, 0.1))
    assert smooth > 1.2 * sharp


@pytest.mark.parametrize(("side", "signs"), [("higher", (1, -1)), ("lower", (-1, 1)), ("both", (1, 1))])
def test_sides_differ_in_sign_only(side: str, signs: tuple[int, int]) -> None:
    detector = fitted(drawn(400, seed=0), side=side)
    image = MEDIAN.expand(1, 1, 24, 16).clone()
    image[0, 0, 5, 5] += 0.3
    image[0, 0, 15, 5] -= 0.3
    heat = detector.score(image).map[0, 0]
    away = 0.3 / float(SPREAD[0, 5])
    assert float(heat[5, 5]) == pytest.approx(signs[0] * away, rel=0.35)
    assert float(heat[15, 5]) == pytest.approx(signs[1] * away, rel=0.35)
    assert detector.score(image).map[0, 0, 10, 5].abs() < 1.0


def test_the_score_is_the_percentile_inside_the_body() -> None:
    detector = fitted(drawn(100, seed=0), percentile=90.0, side="higher")
    images = drawn(3, seed=1)
    images[2, 0, 12:] = -1.0
    scores = detector.score(images)
    for number, (image, heat) in enumerate(zip(images, scores.map, strict=True)):
        inside = heat[image != -1.0].numpy()
        assert float(scores.image[number]) == pytest.approx(np.percentile(inside, 90), abs=1e-4)
        assert float(scores.parts["mean"][number]) == pytest.approx(inside.mean(), abs=1e-4)


def test_channels_have_atlases_of_their_own() -> None:
    spec = ImageSpec(3, 24, 16, -1.0, 1.0)
    tints = torch.tensor([-0.4, 0.0, 0.4])[:, None, None]
    images = (0.5 * drawn(300, seed=0, outside=False) + tints).clamp(-1, 1)
    detector = fitted(images, spec, side="both")
    expected = 0.5 * MEDIAN + tints
    assert (detector.middle_ - expected)[:, 4:20, 2:-2].abs().max() < 0.05
    odd = expected[None].clone()
    odd[0, 0, 10:14, 6:10] += 0.3
    odd[0, 1, 10:14, 6:10] -= 0.3  # the mean of the channels stays as it was
    heat = detector.score(odd).map[0, 0]
    assert heat[12, 8] > 2 > heat[4, 8]


def test_a_place_that_never_varies_is_not_infinitely_odd() -> None:
    images = drawn(100, seed=0, outside=False)
    images[..., 3:6, 3:6] = 0.0
    detector = fitted(images, ImageSpec(1, 24, 16, -1.0, 1.0), smooth=0.0)
    whole = np.subtract(*np.percentile(images.numpy(), (75, 25))) / 1.349
    assert float(detector.spread_[0, 4, 4]) == pytest.approx(whole / 10, rel=0.1)


def test_the_order_of_the_images_and_the_batches_do_not_matter() -> None:
    images = drawn(50, seed=0)
    one, other = fitted(images), Training(1, batch_size=7, seed=5).fit(Intensity(SPEC), images.flip(0))
    assert torch.equal(one.middle_, other.middle_)
    assert torch.equal(one.spread_, other.spread_)


def test_images_without_a_body_are_refused() -> None:
    with pytest.raises(TrainingError, match="background"):
        fitted(torch.full((4, *SPEC.shape), -1.0))
