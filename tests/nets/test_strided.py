"""Convolutions that halve the image, against the plain ones that they stand for."""

from __future__ import annotations

import pytest
import torch

from medood.nets.strided import thin


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
