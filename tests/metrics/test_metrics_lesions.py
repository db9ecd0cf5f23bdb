"""FROC and lesion-wise detection against references that try every threshold on labelled components, and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medood.metrics.lesions import RATES, LesionMap, areas, detect, peaks
from medood.metrics.pixel import lesion_regions


def scan(rng: np.random.Generator, lesions: int, shape: tuple[int, ...] = (6, 20, 24), group: str = "a", shift: float = 2.0) -> LesionMap:
    """A smooth map of noise, brighter in block lesions; a slab at the end does not count."""
    mask = np.zeros(shape, bool)
    for _ in range(lesions):
        corner = [rng.integers(0, size - 3) for size in shape]
        mask[tuple(slice(at, at + rng.integers(1, 4)) for at in corner)] = True
    value = ndimage.gaussian_filter(rng.normal(size=shape), 1) * 3 + shift * mask
    counted = np.ones(shape, bool)
    counted[-1] = False
    return LesionMap(value.astype(np.float32), lesion_regions(mask), counted, group)


def regional_maxima(value: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Plateaus without a higher neighbour, by flooding from every voxel."""
    offsets = [o for o in np.ndindex((3,) * value.ndim) if any(i != 1 for i in o)]
    found, done = [], set()
    for start in np.ndindex(value.shape):
        if start in done or not np.isfinite(value[start]):
            continue
        plateau, edge, highest = {start}, [start], True
        while edge:
            here = edge.pop()
            for offset in offsets:
                there = tuple(h + o - 1 for h, o in zip(here, offset, strict=True))
                if any(not 0 <= t < size for t, size in zip(there, value.shape, strict=True)) or there in plateau:
                    continue
                if value[there] > value[start]:
                    highest = False
                elif value[there] == value[start]:
                    plateau.add(there)
                    edge.append(there)
        done |= plateau
        if highest:
            found.append(plateau)
    return found


def reference(scans: list[LesionMap]) -> dict[float, float]:
    """Sensitivity at each rate, by trying every confidence as the threshold."""
    lesions: list[float] = []
    false: list[float] = []
    for each in scans:
        value = np.where(each.counted, each.value, -np.inf)
        plateaus = [(float(value[min(p)]), {int(each.region[v]) for v in p if each.counted[v]}) for p in regional_maxima(value)]
        for number in set(each.region[each.counted].tolist()) - {0}:
            lesions.append(max((height for height, hit in plateaus if number in hit), default=-np.inf))
        false += [height for height, hit in plateaus if hit == {0}]
    result = {}
    for rate in RATES:
        best = 0.0
        for threshold in [*lesions, *false]:
            if np.isfinite(threshold) and sum(f >= threshold for f in false) <= rate * len(scans):
                best = max(best, np.mean([height >= threshold for height in lesions]))
        result[rate] = best
    return result


@pytest.mark.parametrize("decimals", [0, 6])
@pytest.mark.parametrize("shape", [(6, 12, 14), (24, 30)])
def test_froc_is_that_of_every_threshold_tried(shape: tuple[int, ...], decimals: int) -> None:
    rng = np.random.default_rng(len(shape))
    scans = [scan(rng, n % 3, shape, str(n)) for n in range(6)]
    scans = [LesionMap(s.value.round(decimals), s.region, s.counted, s.group) for s in scans]
    found = detect(scans, resamples=20)
    expected = reference(scans)
    assert {float(name): estimate.value for name, estimate in found.sensitivity.items()} == pytest.approx(expected)
    assert found.mean_sensitivity.value == pytest.approx(np.mean(list(expected.values())))
    assert len(set(expected.values())) > 1, "or every threshold would do"
    assert (found.scans, found.patients) == (6, 6)
    assert found.at_threshold is None


def test_peaks_in_one_lesion_count_once_and_are_never_false() -> None:
    value, region = np.zeros((9, 9)), np.zeros((9, 9), int)
    region[1:4, 1:4], region[6:8, 6:8], region[0, 8] = 1, 2, 3
    value[1, 1], value[3, 3], value[8, 0] = 5, 7, 6
    value[5, 5] = value[6, 6] = 4  # a plateau that reaches into lesion 2
    best, false = peaks(LesionMap(value, region, np.ones((9, 9), bool), "a"))
    assert best.tolist() == [7, 4, -np.inf]
    assert false.tolist() == [6]


def test_what_does_not_count_is_neither_a_lesion_nor_a_finding() -> None:
    value, region, counted = np.zeros((3, 5, 5)), np.zeros((3, 5, 5), int), np.ones((3, 5, 5), bool)
    value[0, 0, 0], value[0, 4, 4], value[2, 2, 2] = 9, 8, 3
    region[0, 0, 0], region[2, 2, 2] = 1, 2
    counted[0] = False
    only = LesionMap(value, region, counted, "a")
    assert [each.tolist() for each in peaks(only)] == [[3], []]
    assert areas(only, 1.0) == (1, 1, 1, 0)


def test_areas_are_counted_as_by_hand() -> None:
    mask = np.zeros((4, 10, 10), bool)
    mask[0, 1:3, 1:3] = mask[1, 3, 3] = True  # one lesion: its parts touch at a corner
    mask[3, 8, 8] = True
    value = np.zeros(mask.shape)
    value[0, 0, 0:2] = 1  # touches the first lesion from outside, at no voxel of it
    value[0, 1, 1] = 1  # joins that area, and lies in the lesion
    value[3, 0, 9] = value[2, 5, 5] = 1
    whole = LesionMap(value, lesion_regions(mask), np.ones(mask.shape, bool), "a")
    assert areas(whole, 0.5) == (2, 1, 3, 2)
    assert areas(whole, 1.0) == (2, 0, 0, 0)
    found = detect([whole, LesionMap(value, np.zeros(mask.shape, int), whole.counted, "b")], threshold=0.5)
    at = found.at_threshold
    assert (at.sensitivity.value, at.false_per_scan.value, at.false_share.value) == (0.5, (2 + 3) / 2, 5 / 6)
    assert at.sensitivity.low is None
    assert "3 patients" in at.sensitivity.reason


def test_a_perfect_map_finds_everything_and_a_flat_one_nothing() -> None:
    rng = np.random.default_rng(0)
    scans = [scan(rng, 2, group=str(n)) for n in range(5)]
    perfect = detect([LesionMap((s.region > 0).astype(float), s.region, s.counted, s.group) for s in scans], threshold=0.5)
    assert {estimate.value for estimate in perfect.sensitivity.values()} == {1.0}
    assert (perfect.at_threshold.sensitivity.value, perfect.at_threshold.false_per_scan.value) == (1.0, 0.0)
    flat = detect([LesionMap(np.zeros(s.value.shape), s.region, s.counted, s.group) for s in scans], threshold=0.5)
    assert flat.mean_sensitivity.value == 0
    assert (flat.at_threshold.sensitivity.value, flat.at_threshold.false_share.value) == (0, 0)
    assert detect([LesionMap(s.value, s.region * 0, s.counted, s.group) for s in scans]) is None


def test_intervals_are_by_patient_and_copies_of_patients_do_not_narrow_them() -> None:
    rng = np.random.default_rng(4)
    scans = [scan(rng, 2, group=str(n), shift=rng.uniform(0.5, 4)) for n in range(12)]
    copies = [LesionMap(s.value, s.region, s.counted, s.group) for s in scans for _ in range(3)]
    once, again = detect(scans, threshold=1.5), detect(copies, threshold=1.5)
    for first, second in (
        (once.mean_sensitivity, again.mean_sensitivity),
        (once.at_threshold.sensitivity, again.at_threshold.sensitivity),
        (once.at_threshold.false_per_scan, again.at_threshold.false_per_scan),
    ):
        assert first.low < first.value < first.high
        assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high))
    assert (once.band.low <= once.froc + 1e-12).all()
    assert (once.froc <= once.band.high + 1e-12).all()
    assert (np.diff(once.froc) >= 0).all()


def test_false_findings_beyond_what_is_read_off_are_dropped_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    scans = [scan(rng, 1, (40, 40), str(n)) for n in range(8)]
    scans = [LesionMap(rng.normal(size=s.value.shape) + 3 * (s.region > 0), s.region, s.counted, s.group) for s in scans]
    whole = detect(scans, resamples=100)
    assert sum(len(peaks(s)[1]) for s in scans) > 600
    monkeypatch.setattr("medood.metrics.lesions._MOST", 300)
    assert detect(scans, resamples=100).sensitivity == whole.sensitivity
