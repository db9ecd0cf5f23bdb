"""Where a classifier loses its certainty: by brute force, and that means stay what they are."""

from __future__ import annotations

import pytest
import torch

from medood.nets.images.geometric_transforms import GeometricTransforms
from medood.nets.images.margin_map import margin_weights, returned, shortfall, stretched
from medood.nets.wide_resnet import WideResNet

RANDOM = torch.Generator().manual_seed(0)


def test_the_margin_is_the_log_odds_and_the_entropy_of_the_others() -> None:
    logits = 4 * torch.randn((6, 5), generator=RANDOM, dtype=torch.float64)
    for right in range(5):
        weights = margin_weights(logits, right)
        p = logits.softmax(1)
        others = p.clone()
        others[:, right] = 0
        others /= others.sum(1, keepdim=True)
        log_odds, entropy = (p[:, right] / (1 - p[:, right])).log(), torch.special.entr(others).sum(1)
        assert torch.allclose((weights * logits).sum(1), log_odds + entropy)
        assert torch.equal(weights[:, right], torch.ones(6).double())
        assert torch.allclose(weights.sum(1), torch.zeros(6).double(), atol=1e-12)  # what all logits share does not count


def test_a_classifier_that_is_as_sure_as_a_number_can_say_still_has_a_margin() -> None:
    logits = torch.tensor([[1e4, 0.0, -50.0]])
    assert float((margin_weights(logits, 0) * logits).sum()) == pytest.approx(1e4)
    assert float((margin_weights(logits, 1) * logits).sum()) == pytest.approx(-1e4)


def test_each_place_counts_with_the_weights_of_its_square() -> None:
    network = WideResNet(1, 64, 96, depth=10, width=1).eval()
    grid = torch.rand((2, 64, 16, 24), generator=RANDOM)
    weights, offset = torch.randn((2, network.features), generator=RANDOM), torch.tensor([0.5, -2.0])
    short = shortfall(network, grid, weights, offset)
    assert short.shape == (2, 1, 16, 24)
    for b, row, column in ((0, 0, 0), (0, 3, 9), (1, 8, 7), (1, 15, 23)):
        square = weights[b].view(64, 2, 3)[:, row // 8, column // 8]
        assert float(short[b, 0, row, column]) == pytest.approx(-float(6 * (square * grid[b, :, row, column]).sum() + offset[b]), rel=1e-4)
    said = (network.pool(grid) * weights).sum(1) + offset
    assert torch.allclose(short.mean((1, 2, 3)), -said, atol=1e-3)


@pytest.mark.parametrize("border", ["symmetric", "reflect"])
def test_places_come_back_from_under_all_72_transforms(border: str) -> None:
    """By hand: a place of the image has the mean of its 4 x 4 pixels, and a pixel the sum over where it was seen."""
    transforms, pixels = GeometricTransforms(32, 32, border=border), torch.arange(1024.0).view(1, 1, 32, 32)
    values = torch.rand((1, 1, 8, 8), generator=RANDOM)
    for number in range(72):
        total, seen = torch.zeros(8, 8), transforms(pixels, number)[0, 0].long()
        for row in range(32):
            for column in range(32):
                pixel = int(seen[row, column])
                total[pixel // 32 // 4, pixel % 32 // 4] += values[0, 0, row // 4, column // 4] / 16
        found = returned(transforms, values, number)
        assert torch.allclose(found[0, 0], total, atol=1e-5), number
        assert float(found.mean()) == pytest.approx(float(values.mean()), rel=1e-5)


def test_stretching_keeps_the_mean() -> None:
    values = torch.rand((2, 1, 8, 16), generator=RANDOM)
    assert stretched(values).shape == (2, 1, 32, 64)
    assert torch.allclose(stretched(values).mean((1, 2, 3)), values.mean((1, 2, 3)))
