"""What is pasted into normal volumes, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medood.advising.anomalies import KINDS, SIZES, Normal, paste
from medood.core.geometry import display_geometry, photograph_geometry
from medood.core.volume import Entry, Volume
from medood.sources.annotation import slice_labels


def volume(slices: int, seed: int, channels: int = 1, spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)) -> Normal:
    """A textured disc of 50 to 200 on 0."""
    random = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(random.standard_normal((channels, slices, 64, 60)), (0, 0, 1.5, 1.5))
    y, x = np.mgrid[:64, :60]
    body = np.broadcast_to(np.hypot(y - 32, x - 30) < 26, (slices, 64, 60))
    image = np.where(body, np.rint((125 + 60 * image / np.abs(image).max()).clip(50, 200)), 0).astype(np.float32)
    geometry = photograph_geometry(body.shape) if slices == 1 else display_geometry(body.shape, "axial", spacing)
    entry = Entry(f"image-{seed}", (), f"patient-{seed}", slices)
    return Normal(Volume(entry, image, geometry, slice_labels(slices, 0)), body, np.arange(slices))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("slices", "channels"), [(1, 1), (1, 3), (24, 1)])
def test_an_anomaly_changes_its_place_and_nothing_else(kind, slices: int, channels: int) -> None:
    normal, other = volume(slices, 0, channels), volume(slices, 1, channels)
    before = normal.volume.image.copy()
    for number, size in enumerate(SIZES):
        made = paste(normal, other, kind, size, np.random.default_rng(number))
        changed = (made.volume.image != before).any(0)
        assert np.array_equal(normal.volume.image, before), "the normal volume itself was changed"
        assert made.mask.any()
        assert not (made.mask & ~normal.body).any()
        assert not (changed & ~normal.body).any()
        assert changed[made.mask].mean() > 0.3, "the mask is where the change is"
        assert not changed[ndimage.distance_transform_edt(~made.mask, sampling=(3, 1, 1)) > 40].any()
        assert made.volume.image[:, normal.body].min() >= before[:, normal.body].min()
        assert made.volume.image.max() <= before.max()
        assert np.array_equal(made.volume.image, np.rint(made.volume.image)), "files of whole numbers hold whole numbers"
        again = paste(normal, other, kind, size, np.random.default_rng(number))
        assert np.array_equal(again.volume.image, made.volume.image)
        assert made.volume.geometry == normal.volume.geometry


def mean_change(kind, measure) -> float:
    """How a number of the anomaly's pixels changes, over twenty anomalies."""
    normal, other, changes = volume(1, 0), volume(1, 1), []
    for seed in range(20):
        made = paste(normal, other, kind, "large", np.random.default_rng(seed))
        changes.append(measure(made.volume.image[0], made.mask) - measure(normal.volume.image[0], made.mask))
    return float(np.mean(changes))


def mean(image: np.ndarray, mask: np.ndarray) -> float:
    return float(image[mask].mean())


def detail(image: np.ndarray, mask: np.ndarray) -> float:
    """The mean absolute Laplacian."""
    return float(np.abs(ndimage.laplace(image[0]))[mask[0]].mean())


def test_each_kind_does_what_it_says() -> None:
    assert mean_change("bright", mean) > 3
    assert mean_change("dark", mean) < -3
    assert mean_change("veil", mean) > 1
    assert mean_change("rough", detail) > 1
    assert mean_change("blur", detail) < -1
    assert mean_change("veil", detail) < -0.5
    assert abs(mean_change("seamless", mean)) < abs(mean_change("bright", mean)) / 2


def test_large_anomalies_are_larger() -> None:
    normal, other = volume(1, 0), volume(1, 1)
    areas = {size: [paste(normal, other, "bright", size, np.random.default_rng(seed)).mask.sum() for seed in range(20)] for size in SIZES}
    assert np.mean(areas["small"]) * 5 < np.mean(areas["large"])


def test_many_are_several_in_the_same_slice() -> None:
    normal, other = volume(24, 0), volume(24, 1)
    masks = [paste(normal, other, "bright", "many", np.random.default_rng(seed)).mask for seed in range(10)]
    parts = [ndimage.label(mask)[1] for mask in masks]
    assert np.mean(parts) > 2
    assert min(parts) >= 1
    assert max(np.ptp(np.flatnonzero(mask.any((1, 2)))) for mask in masks) < 8


def test_anomalies_of_volumes_run_through_slices_by_their_millimetres_and_stay_in_normal_ones() -> None:
    thick, thin = volume(24, 0, spacing=(8.0, 1.0, 1.0)), volume(24, 0, spacing=(1.0, 1.0, 1.0))
    depth = {}
    for name, normal in (("thick", thick), ("thin", thin)):
        some = replace(normal, usable=np.r_[4:20])
        found = [paste(some, some, "bright", "large", np.random.default_rng(seed)).mask.any((1, 2)) for seed in range(20)]
        assert not any(slices[:4].any() or slices[20:].any() for slices in found)
        depth[name] = np.mean([slices.sum() for slices in found])
    assert depth["thin"] > 3 * depth["thick"]


def test_what_is_foreign_comes_from_the_other_image() -> None:
    normal, other = volume(1, 0), volume(1, 1)
    flat = replace(other, volume=replace(other.volume, image=np.where(other.body, np.float32(125), np.float32(0))[None]))
    random = np.random.default_rng
    assert detail(paste(normal, flat, "foreign", "large", random(3)).volume.image[0], normal.body) < detail(
        normal.volume.image[0], normal.body
    )


def test_other_images_may_have_another_size() -> None:
    normal, small = volume(6, 0), volume(3, 1)
    cut = replace(small, volume=replace(small.volume, image=small.volume.image[:, :, 8:50, 8:50]), body=small.body[:, 8:50, 8:50])
    for kind in ("foreign", "seamless"):
        assert paste(normal, cut, kind, "large", np.random.default_rng(0)).mask.any()
