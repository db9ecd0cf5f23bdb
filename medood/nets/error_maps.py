"""How far a reconstruction is from its image, pixel by pixel."""

from __future__ import annotations

from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor
from torch.nn.functional import interpolate


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
    from_zero = image - low, reconstruction - low  # the luminance term is defined for values from 0
    ssim, _ = compute_ssim_and_cs(*from_zero, 2, (11, 11), (1.5, 1.5), data_range=high - low)
    inside = (1 - ssim).clamp(0, 1).mean(1, keepdim=True)
    return interpolate(inside, image.shape[2:], mode="bilinear", align_corners=False)
