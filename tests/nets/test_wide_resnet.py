"""Wide residual networks: published sizes, what they compute by hand, first weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medood.core.errors import MedoodError
from medood.nets.wide_resnet import WideResNet, linear_head


@pytest.mark.parametrize(("side", "depth", "width", "features", "millions"), [(32, 10, 4, 256, 1.215), (64, 16, 8, 2048, 11.10)])
def test_sizes_are_the_published_ones(side: int, depth: int, width: int, features: int, millions: float) -> None:
    with torch.device("meta"):
        network = WideResNet(3, side, side, depth=depth, width=width)
        head = linear_head(network.features, 72)
    assert network.features == features
    assert network(torch.zeros(2, 3, side, side, device="meta")).shape == (2, features)
    assert network.grid(torch.zeros(2, 3, side, side, device="meta")).shape == (2, 64 * width, side // 4, side // 4)
    count = sum(p.numel() for part in (network, head) for p in part.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


def test_a_block_by_hand() -> None:
    network = WideResNet(1, 32, 32, depth=10, width=2).eval()
    block = network.blocks[1]
    x = torch.randn(2, 16, 8, 8)
    norm = block.first[0]
    activated = ((x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()).relu()
    once = nn.functional.conv2d(activated, block.rest[0].weight, padding=1)
    twice = nn.functional.conv2d((once / (1 + 1e-5) ** 0.5).relu(), block.rest[4].weight, padding=1)
    expected = nn.functional.conv2d(activated, block.shortcut[1].weight) + twice
    given = x.clone()
    assert torch.allclose(block(x), expected, atol=1e-4)
    assert torch.equal(x, given)


def test_blocks_of_equal_width_keep_the_image_itself() -> None:
    network = WideResNet(1, 32, 32, depth=16, width=1).eval()
    block = network.blocks[2]
    assert block.shortcut is None
    nn.init.zeros_(block.rest[-1].weight)
    x = torch.randn(1, 16, 8, 8)
    assert torch.equal(block(x), x)


def test_first_weights() -> None:
    network = WideResNet(1, 32, 32, depth=10, width=4)
    layer = network.blocks[2].rest[0]
    assert layer.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    head = linear_head(400, 72)
    assert head.weight.abs().max() <= 0.05
    assert head.weight.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.03)
    assert (head.bias == 0).all()


@pytest.mark.parametrize("depth", [4, 9, 12, 17])
def test_a_depth_that_has_no_equal_stages_is_refused(depth: int) -> None:
    with pytest.raises(MedoodError, match=f"10, 16, 22, 28 .* found {depth}"):
        WideResNet(1, 32, 32, depth=depth, width=1)
