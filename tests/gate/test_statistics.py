"""Statistics with known answers, and what they must not feel."""

from __future__ import annotations

import numpy as np
import pytest

from medood.core.detector import ImageSpec
from medood.gate.changes import CHANGES
from medood.gate.lesions import with_lesions
from medood.gate.statistics import shrunk, statistics

GREY = ImageSpec(1, 48, 48)
BODY = ImageSpec(1, 48, 48, -1.0, 1.0, -1.0)


def test_parts_are_averages_whatever_the_sizes() -> None:
    image = np.random.default_rng(0).random((24, 36))
    assert shrunk(image, 12) == pytest.approx(image.reshape(12, 2, 12, 3).mean((1, 3)))
    assert shrunk(np.arange(4.0)[None].repeat(4, 0), 8)[0] == pytest.approx([0, 0, 1, 1, 2, 2, 3, 3])
    assert shrunk(np.full((7, 11), 3.0), 4) == pytest.approx(np.full((4, 4), 3.0))


def test_values_are_quantiles_of_the_body_in_shares_of_the_range() -> None:
    image = np.full((1, 1, 48, 48), -1.0, np.float32)
    image[..., :24, :] = 0.5
    values = statistics(image, BODY)["values"][0]
    assert values == pytest.approx([0.75] * 7 + [0.5])


def test_each_image_is_looked_at_by_itself() -> None:
    images = np.random.default_rng(0).random((3, 3, 40, 56)).astype(np.float32)
    spec = ImageSpec(3, 40, 56)
    together = statistics(images, spec)
    for i in range(3):
        for name, found in statistics(images[i : i + 1], spec).items():
            assert found[0] == pytest.approx(together[name][i])


def test_noise_is_texture_and_a_flip_is_layout() -> None:
    ramp = np.linspace(0, 1, 48, dtype=np.float32)[None, None, :, None] * np.ones((1, 1, 48, 48), np.float32)
    plain, flipped = statistics(ramp, GREY), statistics(ramp[:, :, ::-1], GREY)
    assert flipped["values"] == pytest.approx(plain["values"])
    assert flipped["texture"] == pytest.approx(plain["texture"], abs=1e-3)
    assert flipped["layout"][0, :144] == pytest.approx(-plain["layout"][0, :144], abs=1e-5)
    noisy = np.clip(ramp + np.random.default_rng(0).normal(0, 0.05, ramp.shape), 0, 1).astype(np.float32)
    assert statistics(noisy, GREY)["texture"][0, 4] > plain["texture"][0, 4] + 2  # diagonal, finest octave: a ramp has none


@pytest.mark.parametrize("size", [4, 8, 31, 32, 200])
def test_any_size_is_taken(size: int) -> None:
    image = np.random.default_rng(0).random((1, 1, size, size + 1)).astype(np.float32)
    found = statistics(image, ImageSpec(1, size, size + 1))
    assert all(np.isfinite(values).all() for values in found.values())
    assert found["layout"].shape == (1, 144 + 128)


def test_where_there_is_a_background_the_body_is_looked_at_wherever_it_lies() -> None:
    y, x = np.mgrid[:24, :24]
    head = (0.2 + 0.02 * y + 0.01 * x).astype(np.float32)  # brighter below and to the right

    def layouts(top: int, left: int, of: np.ndarray) -> np.ndarray:
        image = np.full((1, 1, 48, 48), -1.0, np.float32)
        image[0, 0, top : top + len(of), left : left + of.shape[1]] = of
        return statistics(image, BODY)["layout"][0]

    here = layouts(2, 4, head)
    assert len(here) == (144 + 128) + (64 + 128)
    assert layouts(20, 15, head)[272:] == pytest.approx(here[272:])
    assert layouts(20, 15, head)[:272] != pytest.approx(here[:272], abs=0.1)
    assert layouts(1, 0, head.repeat(2, 0)[:44].repeat(2, 1))[272 : 272 + 64] == pytest.approx(here[272 : 272 + 64], abs=0.2)
    assert layouts(2, 4, head[::-1, ::-1])[272 : 272 + 64] == pytest.approx(-here[272 : 272 + 64], abs=1e-4)


def test_constant_images_and_images_without_a_body_are_taken() -> None:
    for value in (-1.0, 0.3):
        found = statistics(np.full((1, 1, 48, 48), value, np.float32), BODY)
        assert all(np.isfinite(values).all() for values in found.values())


def test_lesions_lie_in_the_body_and_come_again() -> None:
    images = np.full((40, 1, 48, 48), -1.0, np.float32)
    images[..., 8:40, 8:40] = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 1, 32, 32))
    lesioned = with_lesions(images, BODY)
    assert (lesioned[..., :8, :] == -1).all()
    assert (lesioned[..., 40:] == -1).all()
    assert lesioned.min() >= -1
    assert lesioned.max() <= 1
    changed = (np.abs(lesioned - images) > 0.01).mean((1, 2, 3))
    assert changed.min() < 0.02 < changed.max()
    assert with_lesions(images[3:5], BODY) == pytest.approx(lesioned[3:5])


def test_changes_keep_the_range_and_the_outside_of_the_body() -> None:
    image = np.full((1, 1, 48, 48), -1.0, np.float32)
    image[..., 4:20, 10:30] = np.random.default_rng(0).uniform(-0.9, 0.9, (1, 1, 16, 20))
    for name, change in CHANGES.items():
        made = change(image, BODY)
        assert made.shape == image.shape, name
        assert -1 <= made.min() <= made.max() <= 1
        assert abs((made == -1).mean() - (image == -1).mean()) < 0.02
        assert not np.array_equal(made, image)
    wide = np.random.default_rng(0).random((1, 1, 20, 30)).astype(np.float32)
    assert CHANGES["turned by 90 degrees"](wide, ImageSpec(1, 20, 30)).shape == (1, 1, 20, 20)
