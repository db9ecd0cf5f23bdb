"""Poisson blends against the equation that they solve."""

from __future__ import annotations

import torch
from torch import Tensor

from medood.nets.images.poisson import blended, solved

RANDOM = torch.Generator().manual_seed(0)
IMAGE, OTHER = torch.rand((2, 2, 20, 30), generator=RANDOM)
BOX = slice(3, 15), slice(8, 27)
EVERYWHERE = torch.ones((20, 30), dtype=torch.bool)


def laplacian(values: Tensor) -> Tensor:
    """Of the pixels that have four neighbours."""
    around = values[:, 2:, 1:-1] + values[:, :-2, 1:-1] + values[:, 1:-1, 2:] + values[:, 1:-1, :-2]
    return around - 4 * values[:, 1:-1, 1:-1]


def test_the_solution_has_that_laplacian_and_nothing_around() -> None:
    wanted = torch.randn((3, 9, 14), generator=RANDOM)
    padded = torch.nn.functional.pad(solved(wanted), (1, 1, 1, 1))
    assert torch.allclose(laplacian(padded), wanted, atol=1e-4)


def test_the_gradients_are_the_steeper_ones_of_both() -> None:
    made = blended(IMAGE, OTHER, EVERYWHERE, BOX, 0.8)
    here, there = IMAGE[(..., *BOX)], 0.8 * OTHER[(..., *BOX)]
    wanted = torch.zeros_like(here)
    for channel in range(2):
        for y in range(1, here.shape[1] - 1):
            for x in range(1, here.shape[2] - 1):
                for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                    own, foreign = (float(v[channel, y + dy, x + dx] - v[channel, y, x]) for v in (here, there))
                    wanted[channel, y, x] += foreign if abs(foreign) > abs(own) else own
    assert torch.allclose(laplacian(made), wanted[:, 1:-1, 1:-1], atol=1e-4)
    assert torch.equal(made[:, 0], here[:, 0])
    assert torch.equal(made[:, :, -1], here[:, :, -1])


def test_a_flat_image_takes_the_others_gradients_and_keeps_its_own_level() -> None:
    flat, disc = torch.full((1, 20, 30), 0.3), torch.full((1, 20, 30), 0.9)
    disc[:, 8:11, 15:20] = 0.5
    made = blended(flat, disc, EVERYWHERE, BOX, 1.0)
    assert torch.allclose(made - 0.3, (disc - 0.9)[(..., *BOX)], atol=1e-5)


def test_where_a_pixel_is_not_usable_no_gradient_is_taken() -> None:
    made = blended(IMAGE, OTHER, torch.zeros_like(EVERYWHERE), BOX, 1.0)
    assert torch.allclose(made, IMAGE[(..., *BOX)], atol=1e-6)
