"""What is said of the images in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medood.advising.survey import Survey, look
from medood.core.errors import MedoodError
from medood.sources.folder import Folder
from medood.sources.phantoms.phantom import Phantom


def surveyed(source) -> Survey:
    return look(source, source.index().entries)


def save(folder: Path, *images: np.ndarray) -> Folder:
    for number, image in enumerate(images):
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number}.png")
    return Folder(folder)


def test_a_stripped_brain_is_a_volume_with_one_value_around_it() -> None:
    found = surveyed(Phantom(subjects=2, size=64, slices=8, lesions=0))
    assert (found.volumes, found.colour, found.surroundings) == (True, False, "constant")
    assert found.extent_mm == pytest.approx(192.0)
    assert "8 slices" in found.facts[0]
    assert any("3 mm" in fact for fact in found.facts)


def test_skin_is_in_colour_and_fills_the_picture() -> None:
    found = surveyed(Phantom(kind="skin", subjects=2, size=64))
    assert (found.volumes, found.colour, found.surroundings, found.extent_mm) == (False, True, "none", None)


def test_grey_pictures_saved_as_colour_are_grey_and_air_is_seen(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:60, :60]
    head = np.where(np.hypot(y - 30, x - 30) < 22, 150, 8) + random.integers(0, 8, (60, 60))
    found = surveyed(save(tmp_path, np.stack([head] * 3, -1), head))
    assert (found.colour, found.surroundings) == (False, "air")
    assert "Size: 60 x 60 pixels." in found.facts


def test_what_is_mixed_is_said(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    grey, colour = random.integers(0, 256, (50, 40)), random.integers(0, 256, (30, 60, 3))
    found = surveyed(save(tmp_path, grey, grey, colour))
    assert not found.colour
    assert any("30 to 50 rows, 40 to 60 columns" in fact for fact in found.facts)
    assert any("1 are in colour: they are made grey" in fact for fact in found.facts)


def test_a_folder_in_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path, np.zeros((40, 40)))
    content = (tmp_path / "0.png").read_bytes()
    entries = source.index().entries
    (tmp_path / "0.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(MedoodError, match="None of the 1 images"):
        look(source, entries)
