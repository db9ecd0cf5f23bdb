"""Dermoscopy-like pictures of round benign and ragged malignant moles, computed from a seed."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter


def make_skin(seed: int, subject: int, *, size: int, malignant: bool) -> tuple[np.ndarray, np.ndarray]:
    """A picture float32 (3, size, size) of 0..255 and the mask of its mole, uint8 (size, size).

    A benign mole is round and of one brown; a malignant one has a ragged, uneven outline and blotches of black, blue-grey and red.
    """
    rng = np.random.default_rng([seed, subject])
    y, x = np.meshgrid(*[np.linspace(-1, 1, size, dtype=np.float32)] * 2, indexing="ij")
    light = 1 - rng.uniform(0.05, 0.2) * (x**2 + y**2) + rng.uniform(-0.05, 0.05) * x
    skin = np.array([210, 165, 142]) * rng.normal(1, 0.05, 3)
    brown = skin * np.array([0.62, 0.50, 0.42]) * rng.uniform(0.8, 1.15)
    distance = _outline(rng, x, y, malignant)
    mole = 1 / (1 + np.exp(np.clip((distance - 1) / (0.04 if malignant else 0.07), -30, 30)))
    texture = _blobs(rng, size, 1.2) * 0.03 + _blobs(rng, size, size / 16) * 0.03
    picture = skin[:, None, None] + (brown - skin)[:, None, None] * mole
    if malignant:
        for colour in ((45, 35, 40), (95, 100, 125), (150, 70, 65)):
            blotch = (_blobs(rng, size, size / 14) > rng.uniform(0.5, 1.0)) * 0.75
            soft = gaussian_filter(blotch.astype(np.float32), size / 64) * mole
            picture = picture + (np.array(colour)[:, None, None] - picture) * soft
    picture = picture * (light + texture) * (1 - 0.6 * _hairs(rng, x, y))
    picture += rng.normal(0, 2.5, picture.shape)
    return np.clip(picture, 0, 255).round().astype(np.float32), (distance < 1).astype(np.uint8)


def _outline(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, malignant: bool) -> np.ndarray:
    """Distance from the middle of the mole, 1 on its edge."""
    dx, dy = x - rng.uniform(-0.12, 0.12), y - rng.uniform(-0.12, 0.12)
    angle = np.arctan2(dy, dx)
    edge = rng.uniform(0.36, 0.55) * np.ones_like(x)
    for order in range(2, 9):
        strength = (0.16 if malignant else 0.05) / order**0.7 * rng.uniform(0.5, 1.0)
        edge += strength * 0.5 * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return np.hypot(dx, dy) / edge


def _blobs(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """Smoothed white noise of unit variance."""
    field = gaussian_filter(rng.standard_normal((size, size), dtype=np.float32), sigma, truncate=3, mode="wrap")
    return field / field.std()


def _hairs(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """0..1, how much of a pixel dark curved hairs cover."""
    covered = np.zeros_like(x)
    for _ in range(int(rng.integers(0, 6))):
        turn, offset, curve = rng.uniform(0, np.pi), rng.uniform(-0.8, 0.8), rng.uniform(-0.4, 0.4)
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        covered = np.maximum(covered, np.exp(-(((across - offset - curve * along**2) / 0.012) ** 2)))
    return covered
