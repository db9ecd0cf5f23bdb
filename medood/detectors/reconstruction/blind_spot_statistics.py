"""What the blind-spot VAE measures on an image: the residual of a lesion, how concentrated it is, and how well the image compresses."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from medood.core.detector import ImageSpec

Side = Literal["higher", "lower", "both"]


def eroded(inside: Tensor, times: int) -> Tensor:
    """bool (B, 1, H, W): the body less its rim of so many pixels, counted along rows and columns. Where nothing would be left, all of the
    body; the rim of the image is no rim of the body."""
    outside = (~inside).float()
    for _ in range(times):
        outside = torch.maximum(max_pool2d(outside, (3, 1), 1, (1, 0)), max_pool2d(outside, (1, 3), 1, (0, 1)))
    deep = outside == 0
    return torch.where(deep.flatten(1).any(1)[:, None, None, None], deep, inside)


def residual_map(image: Tensor, reconstruction: Tensor, where: Tensor, side: Side, median: int) -> Tensor:
    """(B, 1, H, W), at least 0: by how much the image is brighter than its reconstruction ("higher"), darker, or either, mean over the
    channels, 0 outside `where`; then its median over so many pixels each way, mirrored at the rim of the image."""
    difference = image - reconstruction
    signed = {"higher": difference, "lower": -difference, "both": difference.abs()}[side]
    heat = signed.clamp(min=0).mean(1, keepdim=True) * where
    around = pad(heat, (median // 2,) * 4, mode="reflect").unfold(2, median, 1).unfold(3, median, 1)
    return around.flatten(-2).median(-1).values * where


def residual_entropy(heat: Tensor, where: Tensor) -> Tensor:
    """(B,) in 0..1: entropy of the map taken as a distribution over the pixels `where`, divided by the logarithm of their number.

    0: all in one pixel; 1: as much in every pixel, whatever the size of the body and the unit of the map. Also 1 where there is no residual
    at all, for then nothing is concentrated.
    """
    inside = torch.where(where, heat, 0).flatten(1)
    number, total = where.flatten(1).sum(1), inside.sum(1)
    shares = inside / torch.where(total > 0, total, 1.0)[:, None]
    entropy = torch.special.entr(shares).sum(1) / number.clamp(min=2).log()
    return torch.where((total > 0) & (number > 1), entropy, 1.0)


def compressed_bits(image: Tensor, spec: ImageSpec) -> Tensor:
    """(B,): bits that each image takes as a grey PNG file of 8 bits, its channels below each other."""
    levels = ((image - spec.low) * (255 / (spec.high - spec.low))).round().clamp(0, 255).byte().cpu().numpy()
    return image.new_tensor([8.0 * _png(each) for each in levels.reshape(len(levels), -1, levels.shape[-1])])


def _png(grey: np.ndarray) -> int:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "png")
    return file.tell()
