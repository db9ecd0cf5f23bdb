"""Convolutions with a halving or doubling in them, against the two steps one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from medood.nets import resampling
from medood.nets.resampling import DoublingConvolution, HalvingConvolution


def in_two_steps(layer: nn.Conv2d, image: Tensor) -> Tensor:
    if isinstance(layer, HalvingConvolution):
        return avg_pool2d(nn.Conv2d.forward(layer, image), 2)
    return nn.Conv2d.forward(layer, interpolate(image, scale_factor=2))


@pytest.mark.parametrize("kind", [HalvingConvolution, DoublingConvolution])
@pytest.mark.parametrize("size", [(4, 4), (6, 10), (64, 64)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_one_convolution_is_as_good_as_two_steps(
    kind: type[nn.Conv2d], size: tuple[int, int], layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients, at the border too."""
    monkeypatch.setattr(resampling, "_WORTH", 0)
    torch.manual_seed(0)
    layer = kind(3, 5).double().to(memory_format=layout)  # type: ignore[call-overload]
    image = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    wanted = in_two_steps(layer, image)
    found = layer(image)
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-12)
    weights = torch.randn_like(found)
    by = [image, *layer.parameters()]
    gradients = zip(torch.autograd.grad((found * weights).sum(), by), torch.autograd.grad((wanted * weights).sum(), by), strict=True)
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in gradients)


@pytest.mark.parametrize("kind", [HalvingConvolution, DoublingConvolution])
def test_few_pixels_take_two_steps(kind: type[nn.Conv2d]) -> None:
    """Then the sums of weights are not worth their while; what comes out is the same."""
    torch.manual_seed(0)
    layer, image = kind(4, 4).train(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        few = layer(image)
        many = layer(image.expand(64, -1, -1, -1))
    assert torch.allclose(few.expand_as(many), many, atol=1e-5)


@pytest.mark.parametrize("kind", [HalvingConvolution, DoublingConvolution])
def test_in_scoring_what_is_rounded_does_not_depend_on_the_batch(kind: type[nn.Conv2d]) -> None:
    torch.manual_seed(0)
    layer, images = kind(4, 4).eval(), torch.randn(64, 4, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(images)[:1], layer(images[:1]))
