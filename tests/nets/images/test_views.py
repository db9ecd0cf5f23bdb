"""Random views of images: what each change does, alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from medood.nets.images.views import Views, draw_views, view

PLAIN = Views(*(torch.tensor([value]) for value in (1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0)), torch.tensor([False]))


def picture(channels: int = 3, side: int = 16) -> Tensor:
    return 0.2 + 0.6 * torch.rand((1, channels, side, side), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_that_changes_nothing(channels: int) -> None:
    assert torch.allclose(view(picture(channels), PLAIN), picture(channels), atol=1e-5)


def test_a_flip_is_a_mirror_image() -> None:
    assert torch.allclose(view(picture(), replace(PLAIN, flip=torch.tensor([-1.0]))), picture().flip(3), atol=1e-5)


def test_a_crop_is_enlarged() -> None:
    half = torch.tensor([0.5])
    cropped = view(picture(), replace(PLAIN, width=half, height=half, column=half, row=-half))
    expected = interpolate(picture()[..., :8, 8:], (16, 16), mode="bilinear", align_corners=False)
    assert torch.allclose(cropped[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5)


def test_brightness_and_contrast_around_the_mean() -> None:
    image = picture(1)
    assert torch.allclose(view(image, replace(PLAIN, brightness=torch.tensor([0.7]))), 0.7 * image, atol=1e-5)
    weaker = view(image, replace(PLAIN, contrast=torch.tensor([0.6])))
    assert torch.allclose(weaker, image.mean() + 0.6 * (image - image.mean()), atol=1e-5)


def test_grey_has_no_colour_but_the_same_luma() -> None:
    grey = view(picture(), replace(PLAIN, grey=torch.tensor([True])))
    assert (grey - grey[:, :1]).abs().max() < 2e-3  # the published matrix has four digits
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(torch.einsum("c,nchw->nhw", luma, grey), torch.einsum("c,nchw->nhw", luma, picture()), atol=1e-3)


def test_a_whole_turn_of_hue_is_none_and_half_a_turn_is_the_other_colour() -> None:
    assert torch.allclose(view(picture(), replace(PLAIN, hue=torch.tensor([1.0]))), picture(), atol=1e-4)
    image = torch.full((1, 3, 4, 4), 0.5)
    image[:, 0] = 0.7
    turned = view(image, replace(PLAIN, hue=torch.tensor([0.5])))
    assert (turned[:, 0] < turned[:, 1]).all()


def test_colours_of_grey_images_are_left_alone() -> None:
    changed = replace(PLAIN, hue=torch.tensor([0.3]), grey=torch.tensor([True]), saturation=torch.tensor([0.1]))
    assert torch.allclose(view(picture(1), changed), picture(1), atol=1e-5)


def test_draws_are_within_their_bounds_and_follow_the_seed() -> None:
    drawn = draw_views(2000, torch.Generator().manual_seed(0), flips=True)
    assert (drawn.width * drawn.height).min() >= 0.07
    assert ((drawn.column.abs() + drawn.width) <= 1 + 1e-6).all()
    assert ((drawn.row.abs() + drawn.height) <= 1 + 1e-6).all()
    assert drawn.flip.mean().abs() < 0.1
    assert 0.6 <= drawn.brightness.min() < 0.65
    assert (drawn.brightness == 1).float().mean().item() == pytest.approx(0.2, abs=0.04)
    assert drawn.grey.float().mean().item() == pytest.approx(0.2, abs=0.04)
    again = draw_views(2000, torch.Generator().manual_seed(0), flips=True)
    assert all(torch.equal(one, other) for one, other in zip(vars(drawn).values(), vars(again).values(), strict=True))
    fixed = draw_views(100, torch.Generator().manual_seed(0), (0.54, 0.54))
    assert (fixed.flip == 1).all()
    assert (fixed.width * fixed.height).tolist() == pytest.approx([0.54] * 100, abs=1e-5)


def test_each_image_has_its_own_view() -> None:
    images = torch.rand(6, 3, 16, 16)
    drawn = draw_views(3, torch.Generator().manual_seed(0))
    together = view(images, drawn.repeated(2))
    alone = [view(images[i : i + 1], Views(*(each[i % 3 : i % 3 + 1] for each in vars(drawn).values()))) for i in range(6)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert together.min() >= 0
    assert together.max() <= 1
