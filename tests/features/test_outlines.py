"""The outline of a thing against what is known of discs and ellipses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.features.outlines import Outlines, outline

SPEC = ImageSpec(3, 128, 128)


def ellipse(long: float, short: float, angle: float, middle: tuple[float, float] = (64.0, 64.0)) -> np.ndarray:
    """bool (128, 128), half-axes in pixels, angle of the long one from the rows' axis."""
    y, x = np.mgrid[:128, :128] - np.array(middle)[:, None, None]
    along, across = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
    return (along / long) ** 2 + (across / short) ** 2 <= 1


def picture(thing: np.ndarray) -> Tensor:
    """Skin with a dark thing and a little noise."""
    image = torch.full((1, 3, 128, 128), 0.8) - 0.4 * torch.from_numpy(thing).float()
    return image + 0.02 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))


def numbers(image: Tensor, **parameters: object) -> np.ndarray:
    (grid,) = Outlines(SPEC, **parameters)(image)
    assert grid.shape == (1, 6, 1, 1)
    return grid[0, :, 0, 0].numpy()


def test_a_disc_is_round_and_its_own_mirror_image() -> None:
    diameter, eccentricity, solidity, perimeter, *unlike = numbers(picture(ellipse(20, 20, 0.0)))
    assert diameter == pytest.approx((np.pi * 400) ** 0.5 / 128, rel=0.03)
    assert eccentricity < 0.3
    assert solidity > 0.95
    assert perimeter == pytest.approx(2 * np.pi**0.5, rel=0.06)
    assert max(unlike) < 0.05


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2, 2.5])
def test_an_ellipse_is_the_same_however_it_lies(angle: float) -> None:
    found = numbers(picture(ellipse(30, 15, angle, middle=(60.0, 70.0))))
    assert found[1] == pytest.approx(0.75**0.5, abs=0.03)
    assert max(found[4:]) < 0.06


def test_what_is_missing_on_one_side_is_asymmetry_across_one_axis() -> None:
    """An ellipse whose half beyond the long axis is bitten off at one end only."""
    thing = ellipse(30, 15, 0.0)
    thing[70:, 64:] = False
    whole, bitten = outline(ellipse(30, 15, 0.0)), outline(thing)
    assert (bitten[4:] > whole[4:] + 0.1).all()
    assert bitten[2] < whole[2] - 0.03
    assert bitten[3] > whole[3]


def test_vignettes_corners_and_specks_are_not_the_thing() -> None:
    thing = ellipse(18, 14, 0.3)
    around = thing | (np.hypot(*(np.mgrid[:128, :128] - 63.5)) > 60) | ellipse(2, 2, 0.0, middle=(100.0, 64.0))
    np.testing.assert_allclose(numbers(picture(around)), numbers(picture(thing)), atol=0.05)


def test_the_thing_may_be_the_brighter_one() -> None:
    image = picture(ellipse(30, 15, 0.5))
    np.testing.assert_allclose(numbers(1 - image, side="brighter"), numbers(image), atol=0.01)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_an_image_without_a_thing_has_no_numbers(value: float) -> None:
    assert (numbers(torch.full((1, 3, 128, 128), value)) == 0).all()


def test_a_single_row_of_pixels_has_an_outline() -> None:
    thing = np.zeros((32, 32), bool)
    thing[10, 5:25] = True
    assert np.isfinite(outline(thing)).all()
    assert outline(thing)[1] > 0.99


def test_an_image_too_small_to_have_an_outline_is_one_sentence() -> None:
    with pytest.raises(MedoodError, match=r"outlines needs at least 16 pixels along each side, found 8 x 8"):
        Outlines(ImageSpec(1, 32, 32), size=(8, 8))
