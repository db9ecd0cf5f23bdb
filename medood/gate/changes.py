"""What can go wrong with a whole image of the right kind, done to normal images, so that a gate learns to tell it when it sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medood.core.detector import ImageSpec

Change = Callable[[np.ndarray, ImageSpec], np.ndarray]


def _turned(quarters: int) -> Change:
    def turn(images: np.ndarray, spec: ImageSpec) -> np.ndarray:
        if quarters % 2 and spec.height != spec.width:
            images = _square(images)
        return np.rot90(images, quarters, (2, 3))

    return turn


def _upside_down(images: np.ndarray, spec: ImageSpec) -> np.ndarray:
    return images[:, :, ::-1]


def _mirrored(images: np.ndarray, spec: ImageSpec) -> np.ndarray:
    return images[..., ::-1]


def _inverted(images: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Bright for dark between the ends of the body's own values; what is outside the body stays."""
    made = images.copy()
    for image in made:
        body = np.ones(image.shape[1:], bool) if spec.background is None else (image != spec.background).any(0)
        if body.any():
            low, high = np.quantile(image[:, body][:, ::4], (0.01, 0.99))
            image[:, body] = np.clip(low + high - image[:, body], spec.low, spec.high)
    return made


def _noisy(images: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """With noise of a fifth of the body's own spread."""
    random, made = np.random.default_rng(0), images.copy()
    for image in made:
        body = np.ones(image.shape[1:], bool) if spec.background is None else (image != spec.background).any(0)
        if body.any():
            inside = image[:, body]
            noise = random.normal(0, 0.2 * float(inside.std()), inside.shape)
            image[:, body] = np.clip(inside + noise, spec.low, spec.high)
    return made


def _square(images: np.ndarray) -> np.ndarray:
    """The central square, so that a quarter turn keeps the shape."""
    side = min(images.shape[2:])
    top, left = ((length - side) // 2 for length in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


CHANGES: dict[str, Change] = {
    "upside down": _upside_down,
    "turned by 90 degrees": _turned(1),
    "turned by 270 degrees": _turned(3),
    "turned by 180 degrees": _turned(2),
    "mirrored": _mirrored,
    "inverted": _inverted,
    "noisy": _noisy,
}
"""By the words that say it of an image: "looks ..."."""
