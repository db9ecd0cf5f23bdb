"""Which images a trial takes, and that all candidates are asked about the same ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from medood.advising.anomalies import SIZES, cases
from medood.advising.images import drawn, normals
from medood.advising.pasting import Pasting
from medood.core.errors import MedoodError
from medood.core.volume import Entry
from medood.data.cache import Cache, CachedImages
from medood.recipe.recipe import Preparation
from medood.sources.phantoms.phantom import Phantom
from medood.transforms.pipeline import Pipeline

STEPS = [{"foreground": {"method": "background"}}, {"robust_scale": {}}, {"scale_range": {"low": -4.0, "high": 6.0, "to_low": 0.05}}]
LARGE = Preparation(size=(64, 64), background=0.0, min_foreground=0.5, steps=STEPS)
SMALL = LARGE.model_copy(update={"size": (32, 32)})


def test_drawn_entries_are_whole_pictures_or_volumes_of_a_few_slices() -> None:
    pictures = [Entry(f"{n:03d}", (), f"{n:03d}") for n in range(100)]
    assert len(drawn(pictures, 30, 0)) == 30
    assert drawn(pictures, 30, 0) == drawn(pictures, 30, 0) != drawn(pictures, 30, 1)
    volumes = [Entry(f"{n:03d}", (), f"{n:03d}", slices=155) for n in range(100)]
    assert len(drawn(volumes, 400, 0)) == 50
    assert drawn(volumes[:3], 400, 0) == volumes[:3]


def test_cases_are_kinds_in_two_sizes() -> None:
    assert cases(["blur", "bright"]) == [(kind, size) for kind in ("bright", "blur") for size in SIZES]
    assert len(cases([])) == 9 * len(SIZES)
    with pytest.raises(MedoodError, match="no kind of anomaly"):
        cases(["frog"])


@pytest.fixture
def held_out(tmp_path: Path) -> tuple[Phantom, list[CachedImages]]:
    source = Phantom(subjects=3, size=64, slices=24, lesions=0)
    caches = [Cache(Pipeline(each), ("phantom", {}), tmp_path) for each in (LARGE, SMALL)]
    return source, [CachedImages([cache.prepared(source, entry) for entry in source.index().entries]) for cache in caches]


def test_normal_slices_are_taken_in_threes_with_the_neighbours_that_smoothing_reaches(held_out) -> None:
    large, small = normals(held_out[1], 18)
    assert [one.slices.tolist() for one in large] == [one.slices.tolist() for one in small]
    for one in large:
        counted = one.slices[one.counted]
        assert len(counted) == 6
        assert np.diff(counted).tolist().count(1) >= 4
        assert one.images().shape == (len(one.slices), 1, 64, 64)
        assert set(one.slices) >= {min(n + 1, one.slices.max()) for n in counted}  # 4.6 mm apart, smoothed over 6
        assert one.case == ""


def test_pasted_slices_stand_where_they_stood_and_differ_from_the_normal_ones(held_out, tmp_path: Path) -> None:
    source, images = held_out
    pasting = Pasting(source, images[0], {"large": LARGE, "small": SMALL}, [("bright", "large")], 300, tmp_path, 0)
    made = list(pasting.run())
    assert len(made) == len(pasting) == 4
    assert Counter(one["large"].group for one in made).most_common(1)[0][1] <= 2, "patients take turns"
    by_group = {each.entry.group: each for each in images[0].entries}
    for one in made:
        large, small = one["large"], one["small"]
        assert large.case == "bright, large"
        assert 1 <= large.counted.sum() <= 3
        assert np.array_equal(large.slices, small.slices)
        assert np.array_equal(large.counted, small.counted)
        normal = by_group[large.group]
        before = normal.open()[np.searchsorted(normal.slices, large.slices)]
        change = (large.images() - before)[:, 0]
        assert change[large.counted].max(axis=(1, 2)).min() > 0.015
        assert large.raster.slice_mm == pytest.approx(normal.raster.slice_mm)
        assert np.percentile(np.abs(change[~large.counted]), 50) < 0.03 if (~large.counted).any() else True
