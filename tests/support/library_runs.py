"""Small runs to score with from Python: one trained on brain volumes, one on grey and one on colour pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import medood

SIDE = 32


def recipe(source: str, transforms: dict[str, Any], detector: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "source": {"name": source, "root": "nowhere"},
        "transforms": {"size": [SIDE, SIDE], **transforms},
        "detector": detector or {"name": "autoencoder", "width": 2, "latent": 2},
        "training": {"epochs": 2, "tensorboard": False},
        "split": {"held_out": 0.4},
    }


def train(folder: Path, images: Path, plan: dict[str, Any]) -> medood.Run:
    return medood.train(plan, data=images, out=folder / "run", cache=folder / "cache", device="cpu")


def write_pictures(folder: Path, count: int, *, colour: bool) -> Path:
    """PNG files of smooth noise, not square."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        small = random.integers(60, 200, (4, 5, 3) if colour else (4, 5), dtype=np.uint8)
        Image.fromarray(small).resize((50, 40), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")
    return folder
