"""A grey picture is grey however it is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from medood.data.input_facts import input_facts
from medood.gate.tags import differences, fit_tags
from medood.recipe.loading import load_preparation
from medood.sources.image import Image
from medood.transforms.pipeline import Pipeline

_GREY = np.random.default_rng(0).normal(120, 40, (40, 48)).clip(0, 255).astype(np.uint8)


def _prepared(path: Path, transforms: str):
    source = Image(path)
    volume = source.read(source.index().entries[0])
    pipeline = Pipeline(load_preparation(transforms))
    prepared = pipeline.prepare(volume)
    return prepared.images, input_facts(volume, prepared)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    grey = Picture.fromarray(_GREY)
    grey.save(tmp_path / "l.png")
    Picture.fromarray(np.dstack([_GREY] * 3)).save(tmp_path / "rgb.png")
    grey.convert("P").save(tmp_path / "palette.png")
    grey.convert("RGB").save(tmp_path / "rgb.jpg", quality=90)
    Picture.fromarray(np.dstack([_GREY, _GREY // 2, _GREY // 3])).save(tmp_path / "colour.png")
    return tmp_path


@pytest.mark.parametrize("name", ["rgb.png", "palette.png"])
def test_the_same_picture_is_the_same_image_and_nothing_unlike(pictures: Path, name: str) -> None:
    images, facts = _prepared(pictures / "l.png", "grey_image")
    others, other_facts = _prepared(pictures / name, "grey_image")
    np.testing.assert_array_equal(others, images)
    assert differences(fit_tags([facts]), other_facts, True) == []


def test_what_jpeg_leaves_between_channels_is_no_colour(pictures: Path) -> None:
    _, facts = _prepared(pictures / "l.png", "grey_image")
    assert differences(fit_tags([facts]), _prepared(pictures / "rgb.jpg", "grey_image")[1], True) == []


def test_colour_where_grey_was_trained_is_said_and_the_other_way_round(pictures: Path) -> None:
    _, grey = _prepared(pictures / "l.png", "grey_image")
    _, colour = _prepared(pictures / "colour.png", "grey_image")
    assert "a colour image, trained on grey ones" in differences(fit_tags([grey]), colour, True)
    _, grey = _prepared(pictures / "rgb.png", "rgb_image")
    _, colour = _prepared(pictures / "colour.png", "rgb_image")
    assert "a grey image, trained on colour ones" in differences(fit_tags([colour]), grey, True)
