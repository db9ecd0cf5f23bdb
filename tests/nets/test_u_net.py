"""What the U-Net can and cannot see."""

from __future__ import annotations

import torch
from detector_trials import build
from torch import Tensor

from medood.nets.u_net import UNet


def network(channels_in: int = 1, channels_out: int = 1) -> UNet:
    return build(lambda: UNet(channels_in, channels_out, 8)).eval()  # type: ignore[arg-type, return-value]


def test_images_keep_their_size_and_are_seen_by_themselves() -> None:
    net, images = network(3, 2), torch.rand((3, 3, 24, 40))
    with torch.no_grad():
        made = net.train()(images)
        assert made.shape == (3, 2, 24, 40)
        assert torch.allclose(made[1:2], net(images[1:2]), atol=1e-5)


def test_a_pixel_is_seen_by_far_ones_through_the_smallest_size_and_by_near_ones_through_the_skip() -> None:
    net, image = network(), torch.rand((1, 1, 64, 64)).requires_grad_()
    (gradient,) = torch.autograd.grad(net(image)[0, 0, 32, 32], image)
    size = gradient[0, 0].abs()
    assert size[32, 32] > 20 * size[32, 52] > 0


def test_weights_are_standardised_whatever_their_scale_and_mean() -> None:
    def kernels(net: UNet) -> Tensor:
        return net.down[1].conv1.conv.weight.flatten(1)  # type: ignore[union-attr, operator]

    net = network()
    before = kernels(net)
    assert torch.allclose(before.mean(1), torch.zeros(16), atol=1e-6)
    assert torch.allclose(before.var(1, correction=0) * before.shape[1], torch.ones(16), atol=1e-3)
    with torch.no_grad():
        net.down[1].conv1.conv.parametrizations.weight.original.mul_(3).add_(0.5)  # type: ignore[union-attr, operator]
    assert torch.allclose(kernels(net), before, atol=1e-3)
