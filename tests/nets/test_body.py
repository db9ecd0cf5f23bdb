"""Numbers over the body against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medood.nets.body import mean_inside, percentile_inside

RANDOM = torch.Generator().manual_seed(0)
HEAT = torch.randn((4, 1, 9, 11), generator=RANDOM)
INSIDE = torch.rand(HEAT.shape, generator=RANDOM) < torch.tensor([1.0, 0.5, 0.05, 0.0])[:, None, None, None]


@pytest.mark.parametrize("percentile", [0.0, 12.5, 50.0, 99.0, 100.0])
def test_percentiles_are_those_of_the_body_alone(percentile: float) -> None:
    found = percentile_inside(HEAT, INSIDE, percentile)
    for number in range(3):
        assert float(found[number]) == pytest.approx(np.percentile(HEAT[number][INSIDE[number]].numpy(), percentile), abs=1e-4)


def test_means_are_those_of_the_body_alone() -> None:
    found = mean_inside(HEAT, INSIDE)
    for number in range(3):
        assert float(found[number]) == pytest.approx(float(HEAT[number][INSIDE[number]].mean()), abs=1e-4)


def test_an_image_without_a_body_has_zero() -> None:
    assert not INSIDE[3].any()
    assert mean_inside(HEAT, INSIDE)[3] == 0
    assert percentile_inside(HEAT, INSIDE, 99.0)[3] == 0
