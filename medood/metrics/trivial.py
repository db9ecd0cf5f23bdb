"""Features that know nothing of anatomy. A score that does not beat them has learned nothing, or has found a shortcut."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from medood.core.quantiles import quantiles

POOLED_FEATURES = ("plain_bright", "plain_dark")
"""Brightness and darkness taken for a map and pooled as a run's maps are; of runs that pool."""

PLAIN_FEATURES = ("plain_mean", "plain_std", "plain_p99", "plain_sharpness", "plain_bytes")


def trivial_features(image: np.ndarray, foreground: np.ndarray | None, file_bytes: float) -> dict[str, float]:
    """Trivial features of one image, by the names of their columns in scores.csv.

    image       (C, H, W) in the range of the pipeline; channels are averaged first
    foreground  bool (H, W) or (1, H, W), True inside the body; None or nothing True means every pixel
    file_bytes  size of the file (or of this slice's share of it) that the image came from

    `plain_mean`, `plain_std` and `plain_p99` (99th percentile) are taken over the foreground. `plain_sharpness` is the mean absolute
    Laplacian (edges reflected) of the whole image reduced to 64 x 64 by area averaging.
    """
    grey = np.asarray(image, dtype=np.float32).mean(0)
    inside = np.ones_like(grey, dtype=bool) if foreground is None else np.asarray(foreground, dtype=bool).reshape(grey.shape)
    values = grey[inside] if inside.any() else grey.ravel()
    small = np.asarray(Image.fromarray(grey).resize((64, 64), Image.Resampling.BOX))
    numbers = (values.mean(), values.std(), quantiles(values, (0.99,))[0], np.abs(ndimage.laplace(small)).mean(), file_bytes)
    return {name: float(number) for name, number in zip(PLAIN_FEATURES, numbers, strict=True)}
