"""Patients and pictures that training and held-out images share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medood.data.cache import Cache, CachedImages
from medood.data.leaks import leaks
from medood.data.opening import open_source
from medood.data.patients import unnamed
from medood.recipe.loading import load_recipe
from medood.transforms.pipeline import Pipeline

PREPARATION = load_recipe("rsna_ae").transforms.model_copy(update={"size": (32, 32)})


def picture(path: Path, seed: int, brighter: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.random.default_rng(seed).integers(0, 200, (32, 32)) + brighter).astype(np.uint8)).save(path)
    return path


def parts(folder: Path, *held_out: str) -> tuple[CachedImages, CachedImages]:
    """The pictures of a folder; those named are held out."""
    source = open_source("folder", folder / "images")
    cache = Cache(Pipeline(PREPARATION), ("folder", {}), folder / "cache")
    entries = source.index().entries
    train, held = ([cache.prepared(source, e) for e in entries if (e.id in held_out) == aside] for aside in (False, True))
    return CachedImages(train), CachedImages(held)


def test_names_that_look_like_patients_are_pointed_out(tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / "images" / f"patient{number // 4}_slice{number % 4:02d}.png", number)
    warning = " ".join(leaks(*parts(tmp_path, "patient0_slice00.png")))
    assert "8 images count as one patient each" in warning
    assert "8 of them share the beginning of their names (patient0: 4, patient1: 4)" in warning
    assert "column `group`" in warning


@pytest.mark.parametrize("names", ["ISIC_{:07d}.png", "img_2020_{}.png", "{0}{0}{0}-ab.png", "scan{}.png"])
def test_names_that_tell_no_patients_are_left_alone(tmp_path: Path, names: str) -> None:
    for number in range(6):
        picture(tmp_path / "images" / names.format(number), number)
    train, held_out = parts(tmp_path, names.format(3))
    assert leaks(train, held_out) == []
    assert unnamed([each.entry for each in train.entries])


def test_copies_across_the_parts_are_named_with_their_originals(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number, name in enumerate(("a", "b", "c", "d", "e")):
        picture(images / f"{name}.png", number)
    shutil.copy(images / "a.png", images / "copy.png")
    picture(images / "bright.png", 1, brighter=5)
    Image.open(images / "c.png").resize((64, 64), Image.Resampling.NEAREST).save(images / "large.png")
    shutil.copy(images / "d.png", images / "e.png")  # both are trained on
    (found,) = leaks(*parts(tmp_path, "copy.png", "bright.png", "large.png"))
    assert "3 of the 3 held-out series or images are copies of training images" in found
    assert "1 byte for byte: copy.png of a.png" in found
    assert "2 nearly" in found
    assert "bright.png of b.png, large.png of c.png" in found
    assert leaks(*parts(tmp_path, "a.png", "copy.png")) == [], "copies on one side do not leak"
