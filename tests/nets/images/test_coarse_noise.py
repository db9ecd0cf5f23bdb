"""How strong and how coarse the noise is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medood.nets.images.coarse_noise import coarse_noise


def drawn(seed: int = 0, shape: tuple[int, ...] = (64, 1, 64, 96), cells: int = 8) -> torch.Tensor:
    return coarse_noise(torch.zeros(shape), cells, 0.3, torch.Generator().manual_seed(seed))


def test_it_has_two_thirds_of_the_deviation_and_no_mean() -> None:
    noise = drawn()
    assert float(noise.std()) == pytest.approx(0.2, rel=0.1)
    assert float(noise.mean().abs()) < 0.02


def test_its_blobs_are_as_large_as_the_cells_in_both_directions() -> None:
    """Values a quarter of a cell of 8 pixels apart go together, those two cells apart have nothing to do with each other."""
    noise = drawn().numpy()
    for axis in (2, 3):
        near, far = (np.corrcoef(noise.ravel(), np.roll(noise, step, axis).ravel())[0, 1] for step in (2, 16))
        assert near > 0.85
        assert abs(far) < 0.06


def test_its_grid_lies_elsewhere_each_time() -> None:
    """Of an unshifted grid some pixels would always have less than the mean variance, as they lie between two values."""
    many = torch.cat([drawn(seed, (8, 1, 32, 32), 4) for seed in range(60)])
    spread = many.std(0)
    assert spread.min() > 0.75 * spread.mean()


def test_the_generator_decides() -> None:
    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    assert not torch.equal(drawn(3)[0], drawn(3)[1])
