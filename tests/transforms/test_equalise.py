"""Grey values evened out, and the three preparations of grey pictures that come with medood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata
from skimage.exposure import equalize_adapthist

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import photograph_geometry
from medood.core.volume import Entry, Volume
from medood.recipe.loading import load_preparation
from medood.transforms.equalise import Equalise
from medood.transforms.pipeline import Pipeline


def slices(seed: int = 0) -> np.ndarray:
    """(1, 2, 96, 80): dark texture and bright texture, as skewed as a radiograph's."""
    dark, bright = np.random.default_rng(seed).gamma(2.0, 20.0, (2, 96, 80))
    return np.stack([dark, 3 * bright + 10])[None]


def equalised(image: np.ndarray, body: np.ndarray | None = None, **parameters: Any) -> np.ndarray:
    data = {"image": image} if body is None else {"image": image, "foreground": body}
    return Equalise(**parameters)(data)["image"]


def test_the_global_one_gives_every_pixel_its_rank_in_its_slice() -> None:
    image = slices()
    found = equalised(image, method="global")
    for number in range(2):
        ranks = rankdata(image[0, number]).reshape(96, 80) / (96 * 80)
        assert abs(found[0, number] - ranks).max() < 0.05  # scikit-image has 256 bins, and most pixels lie in few of them
    assert found.dtype == np.float32


def test_the_local_one_is_that_of_scikit_image_slice_by_slice() -> None:
    image = slices()
    for number in range(2):
        unit = (image[0, number] - image[0, number].min()) / np.ptp(image[0, number])
        expected = equalize_adapthist(unit, clip_limit=0.03)
        assert np.allclose(equalised(image, clip_limit=0.03)[0, number], expected, atol=1e-6)
    assert not np.allclose(equalised(image), equalised(image, clip_limit=0.03), atol=0.01)


@pytest.mark.parametrize("method", ["local", "global"])
def test_gain_and_offset_do_not_matter_and_one_slice_not_to_the_other(method: Any) -> None:
    image = slices()
    found = equalised(image, method=method)
    assert np.allclose(found, equalised(7.5 * image + 1000, method=method), atol=0.01)
    assert np.array_equal(found[:, :1], equalised(image[:, :1], method=method))


@pytest.mark.parametrize("method", ["local", "global"])
def test_what_lies_outside_the_body_does_not_stretch_it(method: Any) -> None:
    image, body = slices(), np.zeros((1, 2, 96, 80), bool)
    body[..., 20:70, 10:60] = True
    around = np.where(body, image, 5000.0)
    inner = (slice(None), slice(None), slice(35, 55), slice(25, 45))  # CLAHE's tiles at the rim see what is beyond it
    assert np.std(equalised(around, body, method=method)[inner]) > 0.1
    assert np.std(equalised(around, method=method)[inner]) < 0.1 or method == "local"
    if method == "global":
        assert np.ptp(equalised(around, body, method=method)[body]) > 0.95


@pytest.mark.parametrize("method", ["local", "global"])
def test_an_image_of_one_value_or_without_a_body_is_nothing(method: Any) -> None:
    flat = np.full((1, 1, 32, 32), 7.0)
    assert not equalised(flat, method=method).any()
    assert not equalised(slices(), np.zeros((1, 2, 96, 80), bool), method=method).any()


@pytest.mark.parametrize("limit", [-0.1, 1.5, float("nan")])
def test_a_clip_limit_is_a_share(limit: float) -> None:
    with pytest.raises(MedoodError, match=f"Equalise: `clip_limit` is a number from 0 to 1; found {limit:g}"):
        Equalise(clip_limit=limit)


def picture(scale: float = 1.0) -> Volume:
    grey = np.round(np.clip(slices()[:, :1], 0, 255)) * scale
    return Volume(Entry("x", (), "p", slices=1), grey.astype(np.float32), photograph_geometry((1, 96, 80)), np.full(1, -1, np.int8))


def prepared(name: str, scale: float = 1.0) -> np.ndarray:
    return Pipeline(load_preparation(name, ["size=[96, 80]"])).prepare(picture(scale)).images[0, 0]


def test_raw_grey_values_keep_how_bright_a_picture_is_and_the_others_do_not() -> None:
    assert np.allclose(prepared("grey_image_raw"), picture().image[0, 0] / 255, atol=1e-6)
    assert np.allclose(prepared("grey_image_raw", 0.5), prepared("grey_image_raw") / 2, atol=1e-6)
    for name in ("grey_image", "grey_image_equalised"):
        assert np.allclose(prepared(name, 0.5), prepared(name), atol=0.01), name


def test_raw_grey_values_beyond_8_bits_are_refused_and_not_cut() -> None:
    with pytest.raises(InputError, match="`high`"):
        prepared("grey_image_raw", 16.0)
