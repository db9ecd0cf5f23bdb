"""How far a reconstruction is from its image, pixel by pixel, and the scores that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from medood.core.detector import ImageSpec, Scores
from medood.core.device import exact_arithmetic
from medood.core.errors import MedoodError

_WINDOW = 11
"""Pixels along each side of what SSIM compares at a place."""


def squared_error(image: Tensor, reconstruction: Tensor) -> Tensor:
    """(B, C, H, W) twice to (B, 1, H, W): mean over the channels of the squared difference."""
    return (image - reconstruction).square().mean(1, keepdim=True)


def absolute_error(image: Tensor, reconstruction: Tensor) -> Tensor:
    """(B, C, H, W) twice to (B, 1, H, W): mean over the channels of the absolute difference."""
    return (image - reconstruction).abs().mean(1, keepdim=True)


def dissimilarity(image: Tensor, reconstruction: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """(B, C, H, W) twice, values low..high, to (B, 1, H, W): 1 - SSIM in 0..1, mean over the channels.

    Gaussian window of 11 pixels, sigma 1.5 (Wang et al., IEEE TIP 2004). The window fits only inside, so the map of (H - 10) x (W - 10)
    is stretched to H x W.
    """
    from_zero = image.float() - low, reconstruction.float() - low  # the luminance term is defined for values from 0
    with exact_arithmetic(image.device):  # it subtracts squares of means from means of squares
        ssim, _ = compute_ssim_and_cs(*from_zero, 2, (_WINDOW, _WINDOW), (1.5, 1.5), data_range=high - low)
    inside = (1 - ssim).clamp(0, 1).mean(1, keepdim=True)
    return interpolate(inside, image.shape[2:], mode="bilinear", align_corners=False)


def feature_distance(one: Sequence[Tensor], other: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Layers of features (B, c, h, w) of two images to (B, 1, *size): how far their features point in different directions at each place.

    Squared distance of the vectors, each scaled to length 1, so from 0 to 4; every layer stretched to the size, and the mean of them. It is
    LPIPS (Zhang et al., CVPR 2018) without the weights that it learned from people's judgement.
    """
    layers = []
    for first, second in zip(one, other, strict=True):
        distance = (normalize(first, dim=1) - normalize(second, dim=1)).square().sum(1, keepdim=True)
        layers.append(interpolate(distance, (size[0], size[1]), mode="bilinear", align_corners=False))
    return torch.stack(layers).mean(0)


class Residuals(nn.Module):
    """The errors by which a detector that reconstructs is asked to score, in the units of its images.

    error       that of the map and the image score: "mse", "l1", "ssim" (1 - SSIM) or "perceptual"; None: the detector has its own
    all_errors  whether all are wanted, as parts of the scores; the perceptual one if there are features
    features    the frozen network that "perceptual" compares image and reconstruction on (medood/features/interface.py), or None
    """

    def __init__(self, spec: ImageSpec, who: str, error: str | None, all_errors: bool, features: Any) -> None:
        super().__init__()
        if error == "perceptual" and features is None:
            raise MedoodError(
                f"{who}: `error: perceptual` compares features of a frozen network, and none is named: "
                "add `features: {name: efficientnet_lite0}` to the recipe."
            )
        if features is not None and not (error == "perceptual" or all_errors):
            raise MedoodError(f"{who}: `features` serve `error: perceptual` and `all_errors: true` only: choose one, or leave them out.")
        if (error == "ssim" or all_errors) and min(spec.height, spec.width) < _WINDOW:
            raise MedoodError(
                f"{who}: SSIM looks at {_WINDOW} x {_WINDOW} pixels, more than images of {spec.height} x {spec.width} have: choose another "
                "`error` without `all_errors`, or set `size` in the transforms file."
            )
        self.spec, self.error, self.all_errors, self.features = spec, error, all_errors, features
        every = ("mse", "l1", "ssim", *(("perceptual",) if features is not None else ()))
        self.wanted: tuple[str, ...] = every if all_errors else (error,) if error else ()

    def map(self, error: str, image: Tensor, reconstruction: Tensor) -> Tensor:
        """(B, 1, H, W) of one error of the reconstructions of images (B, C, H, W)."""
        if error == "mse":
            return squared_error(image, reconstruction)
        if error == "l1":
            return absolute_error(image, reconstruction)
        low, high = self.spec.low, self.spec.high
        if error == "ssim":
            return dissimilarity(image, reconstruction, low, high)
        seen = self.features.afresh(reconstruction.clamp(low, high))
        return feature_distance(self.features(image), seen, image.shape[2:])

    def forward(self, image: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """The maps of all errors that are wanted, by name."""
        return {error: self.map(error, image, reconstruction) for error in self.wanted}

    def applied(self, scores: Scores, image: Tensor, reconstruction: Tensor) -> Scores:
        """A detector's own scores, with map and image score by the chosen error, which is the map's mean, and the parts that are wanted."""
        maps = self(image, reconstruction)
        means = {error: heat.mean((1, 2, 3)) for error, heat in maps.items()}
        parts = {**scores.parts, **(means if self.all_errors else {})}
        if self.error is None:
            return replace(scores, parts=parts)
        return Scores(means[self.error], maps[self.error], parts=parts)
