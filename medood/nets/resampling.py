"""3 x 3 convolutions before a halving, or after a doubling of the image, each with it in one convolution: less arithmetic, same values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, conv_transpose2d, interpolate

_WORTH = 256
"""Pixels of a batch in training, on the coarser grid, below which summing up the weights costs more than the arithmetic that it saves. In
scoring the kernel is the same for every batch, as rounding differs."""


class HalvingConvolution(nn.Conv2d):
    """(B, inputs, H, W) to (B, outputs, H / 2, W / 2): a 3 x 3 convolution, and the mean of every 2 x 2 pixels of what it makes.

    Computed as a 4 x 4 convolution of stride 2, which takes 4/9 of the multiplications.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        if self.training and _pixels(input) < 4 * _WORTH:
            return avg_pool2d(super().forward(input), 2)
        return conv2d(input, _summed(self.weight, 0.25), self.bias, 2, 1)


class DoublingConvolution(nn.Conv2d):
    """(B, inputs, H, W) to (B, outputs, 2 H, 2 W): every pixel four times, and a 3 x 3 convolution without shift of that.

    Computed as a transposed 4 x 4 convolution of stride 2, which takes 4/9 of the multiplications.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if self.training and _pixels(input) < _WORTH:
            return super().forward(interpolate(input, scale_factor=2))
        return conv_transpose2d(input, _summed(self.weight.flip(2, 3), 1.0).transpose(0, 1), None, 2, 1)


def _pixels(images: Tensor) -> int:
    return images.shape[0] * images.shape[2] * images.shape[3]


def _summed(weight: Tensor, factor: float) -> Tensor:
    """Kernels (a, b, 3, 3) at the four places of 2 x 2 pixels, added up, times a factor: (a, b, 4, 4)."""
    along = weight.new_tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]])
    places = torch.kron(along, along) * factor  # (16, 9)
    made = places @ weight.permute(0, 2, 3, 1).flatten(1, 2)  # b last, as channels_last has them
    return made.unflatten(1, (4, 4)).permute(0, 3, 1, 2)
