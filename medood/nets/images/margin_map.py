"""Where in an image a classifier of its transforms loses the certainty about the right one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from medood.nets.images.geometric_transforms import GeometricTransforms
from medood.nets.wide_resnet import GRID_STEP, WideResNet


def margin_weights(logits: Tensor, right: int) -> Tensor:
    """(B, K) from logits (B, K): the weights of the logits in the margin of the right answer, 1 for its own and minus the probabilities
    of the others, had it not been there, for theirs.

    The margin is the logarithm of p / (1 - p), where p is the probability of the right answer, plus the entropy of those probabilities.
    """
    own = (torch.arange(logits.shape[1], device=logits.device) == right).expand_as(logits)
    return own.to(logits) - logits.masked_fill(own, -torch.inf).softmax(1)


def shortfall(network: WideResNet, grid: Tensor, weights: Tensor, offset: Tensor) -> Tensor:
    """(B, 1, h, w) of a grid, of the margin's weights (B, features) of the features and of its offset (B,): minus what each place says.

    The mean over the places is minus the margin.
    """
    return -(network.spread(grid.float(), weights.float()) + offset.float()[:, None, None, None])


def returned(transforms: GeometricTransforms, values: Tensor, number: int) -> Tensor:
    """(B, 1, h, w) of values on the grid of the transformed images: on the grid of the images themselves, with the same mean."""
    fine = values.repeat_interleave(GRID_STEP, 2).repeat_interleave(GRID_STEP, 3)
    return avg_pool2d(transforms.back(fine, number), GRID_STEP)


def stretched(values: Tensor) -> Tensor:
    """(B, 1, H, W) of values on the grid, with the same mean."""
    return interpolate(values, scale_factor=GRID_STEP, mode="bilinear", align_corners=False)
