"""Lesions planted into normal images, of many sizes and kinds, so that a gate learns what it must let pass."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from scipy.ndimage import gaussian_filter

from medood.core.detector import ImageSpec

_RADII = (0.02, 0.25)
"""Of the image's shorter side, from a spot of a few pixels to half of the body; every order of size is as likely."""


def with_lesions(images: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Copies of (n, channels, height, width) images, each with one lesion in its body that is brighter, darker, smoother or rougher.

    An image always gets the same lesion.
    """
    return np.stack([_planted(image, spec, np.random.default_rng(crc32(np.ascontiguousarray(image).tobytes()))) for image in images])


def _planted(image: np.ndarray, spec: ImageSpec, random: np.random.Generator) -> np.ndarray:
    body = np.ones(image.shape[1:], bool) if spec.background is None else (image != spec.background).any(0)
    if not body.any():
        return image.copy()
    cover = _shape(body, random) * random.uniform(0.2, 1.0)
    changed = _KINDS[random.choice(list(_KINDS))](image, spec, random)
    lesioned = np.clip(image + cover * (changed - image), spec.low, spec.high)
    return np.where(body, lesioned, image).astype(image.dtype)


def _shape(body: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(height, width) of 0..1: an ellipse with an uneven, soft rim, centred on a pixel of the body."""
    side = min(body.shape)
    radius = side * float(np.exp(random.uniform(*np.log(_RADII))))
    row, column = np.argwhere(body)[random.integers(np.count_nonzero(body))]
    y, x = np.ogrid[: body.shape[0], : body.shape[1]]
    turn, stretch = random.uniform(0, np.pi), random.uniform(1, 1.6)
    along = (x - column) * np.cos(turn) + (y - row) * np.sin(turn)
    beside = (y - row) * np.cos(turn) - (x - column) * np.sin(turn)
    angle = np.arctan2(beside, along)
    rim = radius * (1 + 0.2 * np.sin(3 * angle + random.uniform(0, 6)) + 0.1 * np.sin(5 * angle + random.uniform(0, 6)))
    distance = np.hypot(along / stretch, beside * stretch)
    return np.clip((rim - distance) / max(radius * random.uniform(0.1, 0.6), 1.0) + 0.5, 0, 1).astype(np.float32)


def _brighter(image: np.ndarray, spec: ImageSpec, random: np.random.Generator) -> np.ndarray:
    return image + random.uniform(0.1, 1.0, (len(image), 1, 1)) * (spec.high - image)


def _darker(image: np.ndarray, spec: ImageSpec, random: np.random.Generator) -> np.ndarray:
    return image + random.uniform(0.1, 1.0, (len(image), 1, 1)) * (spec.low - image)


def _smoother(image: np.ndarray, spec: ImageSpec, random: np.random.Generator) -> np.ndarray:
    width = random.uniform(0.01, 0.05) * min(image.shape[1:])
    return np.stack([gaussian_filter(channel, width) for channel in image])


def _rougher(image: np.ndarray, spec: ImageSpec, random: np.random.Generator) -> np.ndarray:
    grain = gaussian_filter(random.normal(size=image.shape[1:]), random.uniform(0.5, 3.0))
    return image + random.uniform(0.05, 0.25) * (spec.high - spec.low) * (grain / grain.std()).astype(np.float32)


_KINDS = {"brighter": _brighter, "darker": _darker, "smoother": _smoother, "rougher": _rougher}
