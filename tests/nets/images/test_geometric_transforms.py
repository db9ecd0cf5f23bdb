"""Geometric transforms against SciPy and NumPy, and their order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from medood.nets.images.geometric_transforms import GeometricTransforms, all_of, names_of

SIDE, SHIFT = 32, 8
IMAGE = torch.rand((1, 2, SIDE, SIDE), generator=torch.Generator().manual_seed(0))


def by_scipy(image: np.ndarray, number: int, mode: str) -> np.ndarray:
    """Transform `number` of the 72 as the paper's authors made it: (C, H, W) flipped, shifted by SciPy, turned by NumPy."""
    flip, row, column, turns = np.unravel_index(number, (2, 3, 3, 4))
    steps = (0, -SHIFT, SHIFT)
    image = image[:, :, ::-1] if flip else image
    shifted = [affine_transform(channel, np.eye(2), (steps[row], steps[column]), order=0, mode=mode) for channel in image]
    return np.rot90(np.stack(shifted), turns, (1, 2))


@pytest.mark.parametrize(("border", "mode"), [("symmetric", "reflect"), ("reflect", "mirror")])
def test_the_72_transforms_are_those_of_the_paper_in_its_order(border: str, mode: str) -> None:
    transforms = GeometricTransforms(SIDE, SIDE, border=border)
    assert len(transforms) == 72
    for number in range(72):
        assert np.array_equal(transforms(IMAGE, number)[0].numpy(), by_scipy(IMAGE[0].numpy(), number, mode)), number


def test_they_all_differ_and_the_first_is_the_identity() -> None:
    results = all_of(GeometricTransforms(SIDE, SIDE), IMAGE)
    assert torch.equal(results[0], IMAGE[0])
    assert len({result.numpy().tobytes() for result in results}) == 72


def test_the_edge_is_repeated_unless_it_is_asked_for_otherwise() -> None:
    row = torch.arange(8.0).expand(1, 1, 8, 8)
    number = 1  # of nine shifts: the row counts slower than the column, which moves by minus two here
    assert GeometricTransforms(8, 8, flips=False, turns=False)(row, number)[0, 0, 0].tolist() == [1, 0, 0, 1, 2, 3, 4, 5]
    whole = GeometricTransforms(8, 8, flips=False, turns=False, border="reflect")
    assert whole(row, number)[0, 0, 0].tolist() == [2, 1, 0, 1, 2, 3, 4, 5]


def test_small_sets_are_parts_of_the_large_one() -> None:
    all_results = all_of(GeometricTransforms(SIDE, SIDE), IMAGE)
    turns = all_of(GeometricTransforms(SIDE, SIDE, shifts=False), IMAGE)
    shifts = all_of(GeometricTransforms(SIDE, SIDE, flips=False, turns=False), IMAGE)
    assert torch.equal(turns, all_results[[0, 1, 2, 3, 36, 37, 38, 39]])
    assert torch.equal(shifts, all_results[:36:4])


def test_every_image_gets_its_own_transform() -> None:
    transforms, images = GeometricTransforms(SIDE, SIDE), torch.rand((72, 1, SIDE, SIDE))
    numbers = transforms.draw(72, torch.Generator().manual_seed(1))
    expected = torch.cat([transforms(image[None], int(number)) for image, number in zip(images, numbers, strict=True)])
    assert torch.equal(transforms(images, numbers), expected)
    assert len(set(numbers.tolist())) > 20


def test_images_that_are_not_square_can_be_shifted_by_a_quarter_of_each_side() -> None:
    image = torch.rand(1, 1, 8, 16)
    result = GeometricTransforms(8, 16, flips=False, turns=False)(image, 8)
    assert torch.equal(result[0, 0, :6, :12], image[0, 0, 2:, 4:])
    assert torch.equal(result[0, 0, 6:, :12], image[0, 0, [7, 6], 4:])


@pytest.mark.parametrize("border", ["symmetric", "reflect"])
def test_what_is_said_of_a_pixel_comes_back_to_it(border: str) -> None:
    transforms = GeometricTransforms(SIDE, SIDE, border=border)
    values = torch.rand(IMAGE.shape, generator=torch.Generator().manual_seed(1))
    for number in range(72):
        said, back = float((transforms(IMAGE, number) * values).sum()), float((IMAGE * transforms.back(values, number)).sum())
        assert said == pytest.approx(back, rel=1e-5), number  # by the definition of an adjoint
    turned = 36 + 3
    assert torch.equal(transforms.back(transforms(IMAGE, turned), turned), IMAGE)


def test_under_all_transforms_a_pixel_is_seen_as_often_as_any_other() -> None:
    for size, some in (((SIDE, SIDE), {}), ((8, 16), {"flips": False, "turns": False})):
        transforms = GeometricTransforms(*size, **some)
        counts = sum(transforms.back(torch.ones(1, 1, *size), number) for number in range(len(transforms)))
        assert torch.equal(counts, torch.full((1, 1, *size), float(len(transforms))))


def test_labels_and_names_say_what_a_number_does() -> None:
    transforms = GeometricTransforms(SIDE, SIDE)
    assert transforms.labels[36 + 12 + 4 + 3].tolist() == [1, 1, 1, 3]
    assert names_of(transforms)[0] == "as it is"
    spot = torch.zeros(1, 1, SIDE, SIDE)
    spot[..., 16, 16] = 1
    for number, name in enumerate(names_of(GeometricTransforms(SIDE, SIDE, flips=False, turns=False))):
        row, column = (transforms(spot, 4 * number)[0, 0] == 1).nonzero()[0].tolist()
        assert ("up" in name, "down" in name, "left" in name, "right" in name) == (row < 16, row > 16, column < 16, column > 16)
