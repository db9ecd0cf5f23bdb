"""Images that show nobody: noise with the grey values and the coarseness that real images have on average."""

from __future__ import annotations

import numpy as np


def generated(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """As many images as there are (n, C, H, W), of the same type, drawn anew.

    Each has the mean amplitude spectrum of all images with random phases, and the mean of all their sorted grey values: so no pixel, shape
    or arrangement of any one image is in it.
    """
    random = np.random.default_rng(seed)
    spectrum = np.abs(np.fft.rfft2(images)).mean((0, 1))
    values = np.sort(images.reshape(*images.shape[:2], -1), axis=2).mean(0)
    made = np.empty_like(images)
    for number in range(len(images)):
        for channel in range(images.shape[1]):
            phases = np.fft.rfft2(random.standard_normal(images.shape[2:]))
            noise = np.fft.irfft2(spectrum * phases / np.maximum(np.abs(phases), 1e-12), s=images.shape[2:])
            made[number, channel].flat[np.argsort(noise, axis=None)] = _of_one(values[channel], images)
    return made


def _of_one(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Sorted grey values of a generated image: whole numbers where the images have such."""
    return np.rint(values) if whole_numbers(images) else values


def whole_numbers(images: np.ndarray) -> bool:
    return bool((images == np.rint(images)).all())


def made_new(images: np.ndarray, background: float | None, seed: int = 0) -> np.ndarray:
    """The images with a trace of noise inside the body, for a detector that knows again what it was calibrated on."""
    noise = 1e-3 * images.std((1, 2, 3), keepdims=True) * np.random.default_rng(seed).standard_normal(images.shape)
    outside = np.zeros(1, bool) if background is None else (images == background).all(1, keepdims=True)
    return np.where(outside, images, np.clip(images + noise, images.min(), images.max())).astype(np.float32)
