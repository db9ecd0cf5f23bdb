"""Convolutions that halve the image, against the plain ones that they stand for."""

from __future__ import annotations

import pytest
import torch

from medood.core.tracing import written_down
from medood.nets.strided import ToFewChannels, double, thin


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 4, 6, 8])
def test_a_thin_convolution_is_one_with_a_stride(channels: int, channels_last: bool) -> None:
    thinned = thin(channels, 2 * channels, 2)
    plain = torch.nn.Conv2d(channels, 2 * channels, 1, 2, bias=False)
    plain.load_state_dict(thinned[1].state_dict())
    image = torch.rand(16, channels, 64, 64)
    expected = torch.autograd.grad(plain(image).square().sum(), plain.weight)[0]
    if channels_last:
        thinned, image = thinned.to(memory_format=torch.channels_last), image.to(memory_format=torch.channels_last)
    assert torch.allclose(thinned(image), plain(image), atol=1e-5)
    image.requires_grad_()
    thinned(image).square().sum().backward()
    assert image.grad is not None
    assert torch.allclose(thinned[1].weight.grad, expected, rtol=1e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("channels", "bias"), [(1, True), (3, False)])
def test_a_doubling_to_few_channels_is_a_transposed_convolution(channels: int, bias: bool, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = ToFewChannels(6, channels, bias=bias).double().to(memory_format=layout)  # type: ignore[call-overload]
    image = torch.randn(2, 6, 5, 8, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    found, wanted = layer(image), torch.nn.ConvTranspose2d.forward(layer, image)
    assert found.shape == (2, channels, 10, 16)
    assert torch.allclose(found, wanted, atol=1e-12)
    weights, by = torch.randn_like(found), [image, *layer.parameters()]
    gradients = zip(torch.autograd.grad((found * weights).sum(), by), torch.autograd.grad((wanted * weights).sum(), by), strict=True)
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in gradients)


def test_a_doubling_to_few_channels_adds_up_in_full_precision_and_is_written_down_as_a_convolution() -> None:
    torch.manual_seed(0)
    block, image = double(8, 1, norm=None, act=None), torch.randn(1, 8, 4, 4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = block(image)
    with torch.no_grad(), written_down():
        plain = block(image)
        assert torch.equal(plain, torch.nn.ConvTranspose2d.forward(block.conv, image))
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, plain, atol=0.05)
    assert not isinstance(double(8, 8).conv, ToFewChannels)
