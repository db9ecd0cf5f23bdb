"""Pooling of maps against values computed by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from medood.core.geometry import Raster
from medood.recipe.recipe import Pooling
from medood.scoring.pooling import counted, pooled_maps, series_top, slice_scores, smoothing_of

RANDOM = np.random.default_rng(0)


ONE = np.array([0])
THREE = np.arange(3)
PIXELS = Raster((1.0, 1.0))


def disc(side: int, radius: float) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    return (np.hypot(y, x) <= radius)[None]


def pooled(maps: np.ndarray, body: np.ndarray, numbers: np.ndarray, raster: Raster, plan: Pooling, residual=None) -> np.ndarray:
    return pooled_maps(maps, body, raster, plan, smoothing_of(body, numbers, raster, plan), residual)


def test_smoothing_is_as_warm_at_the_rim_as_in_the_middle() -> None:
    body = disc(41, 15)
    found = pooled(np.full((1, 41, 41), 3.0, np.float32), body, ONE, PIXELS, Pooling(smooth_mm=4))
    assert found[body] == pytest.approx(3.0, rel=1e-5)
    assert (found[~body] == 0).all()


def test_smoothing_is_a_gaussian_in_millimetres_inside_the_body() -> None:
    maps, body = RANDOM.random((3, 9, 11)).astype(np.float32), RANDOM.random((3, 9, 11)) > 0.2
    numbers = np.array([4, 5, 7])
    found = pooled(maps, body, numbers, Raster((2.0, 1.0), 3.0), Pooling(smooth_mm=1.5))
    z, y, x = numbers[:, None, None] * 3.0, np.arange(9)[:, None] * 2.0, np.arange(11) * 1.0
    for at in [(0, 4, 5), (1, 0, 0), (2, 8, 3)]:
        far = (z - numbers[at[0]] * 3.0) ** 2 + (y - 2.0 * at[1]) ** 2 + (x - at[2]) ** 2
        weight = np.exp(-far / (2 * 1.5**2)) * body
        weight[np.abs(numbers - numbers[at[0]]) * 3.0 > 4.5 + 1.5] = 0  # where the filter is cut off
        expected = (weight * maps).sum() / weight.sum()
        assert found[at] == (pytest.approx(expected, abs=0.02) if body[at] else 0)


def test_several_gaussians_are_averaged() -> None:
    maps, body = RANDOM.random((3, 9, 11)).astype(np.float32), RANDOM.random((3, 9, 11)) > 0.2
    both, one, other = (pooled(maps, body, THREE, Raster((2.0, 1.0), 3.0), Pooling(smooth_mm=mm)) for mm in ((1.0, 4.0), 1.0, 4.0))
    assert np.allclose(both, (one + other) / 2, atol=1e-6)
    assert not np.allclose(one, other, atol=1e-2)


def test_slices_that_were_not_scored_keep_their_distance() -> None:
    maps, body = np.zeros((3, 5, 5), np.float32), np.ones((3, 5, 5), bool)
    maps[0] = 1.0
    apart_mm = Raster((1.0, 1.0), 2.0)
    near = pooled(maps, body, 10 + THREE, apart_mm, Pooling(smooth_mm=2))
    apart = pooled(maps, body, 10 + 3 * THREE, apart_mm, Pooling(smooth_mm=2))
    within = pooled(maps, body, THREE, apart_mm, Pooling(smooth_mm=2, through_slices=False))
    pictures = pooled(maps, body, THREE, PIXELS, Pooling(smooth_mm=2))
    assert near[0].max() < 0.9
    assert near[1].min() > 0.2
    assert apart[0].min() > 0.98
    assert apart[1].max() < 0.02
    for alone in (within, pictures):
        assert np.allclose(alone, maps, atol=1e-5)


def test_the_sign_of_a_residual_decides_what_counts() -> None:
    maps, residual = np.full((1, 1, 3), 2.0, np.float32), np.array([[[-1.0, 0.0, 1.0]]])
    body = np.ones_like(maps, dtype=bool)
    assert pooled(maps, body, ONE, PIXELS, Pooling(side="higher"), residual).tolist() == [[[0, 0, 2]]]
    assert pooled(maps, body, ONE, PIXELS, Pooling(side="lower"), residual).tolist() == [[[2, 0, 0]]]


def test_a_median_takes_lone_pixels_away() -> None:
    maps = np.zeros((1, 9, 9), np.float32)
    maps[0, 4, 4] = 5.0
    assert pooled(maps, np.ones_like(maps, dtype=bool), ONE, PIXELS, Pooling(median_mm=3)).max() == 0
    assert pooled(maps, np.ones_like(maps, dtype=bool), ONE, Raster((4.0, 4.0)), Pooling(median_mm=3)).max() == 5


def test_the_rim_is_cut_in_millimetres() -> None:
    body = disc(101, 40)
    assert np.count_nonzero(counted(body, PIXELS, Pooling(erode_mm=10))) == pytest.approx(np.pi * 30**2, rel=0.03)
    assert np.count_nonzero(counted(body, Raster((2.0, 2.0)), Pooling(erode_mm=10))) == pytest.approx(np.pi * 35**2, rel=0.03)
    assert (counted(body, PIXELS, Pooling(erode_mm=60)) == body).all(), "nothing would be left"
    assert counted(np.ones((1, 8, 8), bool), PIXELS, Pooling(erode_mm=3)).all(), "a picture has no rim"


def test_the_hottest_area_is_measured_in_square_millimetres() -> None:
    maps = RANDOM.random((1, 20, 20)).astype(np.float32)
    where = np.ones_like(maps, dtype=bool)
    for pixel, count in (((1.0, 1.0), 50), ((2.0, 2.5), 10), ((50.0, 50.0), 1)):
        (found,) = slice_scores(maps, where, Raster(pixel), Pooling(reduction="top_mm2", top_mm2=50.0))
        assert found == pytest.approx(np.sort(maps, axis=None)[-count:].mean())
    (all_of_it,) = slice_scores(maps, where, PIXELS, Pooling(reduction="top_mm2", top_mm2=1e6))
    assert all_of_it == pytest.approx(maps.mean())


def test_means_and_percentiles_look_at_the_part_that_counts() -> None:
    maps, where = RANDOM.random((2, 6, 6)).astype(np.float32), RANDOM.random((2, 6, 6)) > 0.5
    for reduction, expected in (("mean", np.mean), ("percentile", lambda v: np.percentile(v, 90))):
        found = slice_scores(maps, where, PIXELS, Pooling(reduction=reduction, percentile=90.0))
        assert found == pytest.approx([expected(maps[k][where[k]]) for k in range(2)], rel=1e-6)
    assert slice_scores(maps, np.zeros_like(where), PIXELS, Pooling(reduction="mean")) == pytest.approx(maps.min((1, 2)))


def test_the_largest_part_is_weighed_above_the_threshold() -> None:
    maps = np.zeros((1, 10, 10), np.float32)
    maps[0, 1:3, 1:3] = 3.0  # 4 pixels, hot
    maps[0, 5:9, 5:9] = 1.5  # 16 pixels, warm
    maps[0, 4, 4] = 1.5  # touches it at a corner
    where, plan = np.ones_like(maps, dtype=bool), Pooling(reduction="largest_component")
    assert slice_scores(maps, where, Raster((2.0, 1.0)), plan, threshold=1.0) == pytest.approx([17 * 0.5 * 2.0])
    assert slice_scores(maps, where, PIXELS, plan, threshold=5.0).tolist() == [0.0]


def test_a_series_is_judged_by_its_hottest_volume() -> None:
    maps = RANDOM.random((4, 5, 5)).astype(np.float32)
    places, plan = Raster((1.0, 2.0), 3.0), Pooling(series="top_mm3", top_mm3=60.0)
    assert series_top(maps, np.ones_like(maps, dtype=bool), places, plan) == pytest.approx(np.sort(maps, axis=None)[-10:].mean())
