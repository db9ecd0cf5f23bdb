"""Pixel numbers against scikit-learn and a reference that tries every threshold on every lesion."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from medood.core.errors import MedoodError
from medood.metrics.pixel import LabelledPixels, lesion_regions, localise, localise_within
from medood.metrics.sampling import PixelSample


def _image(rng: np.random.Generator, size: int = 40, lesions: int = 2, shift: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """A map of noise (size, size), brighter in square lesions of different sizes."""
    mask = np.zeros((size, size), dtype=bool)
    for _ in range(lesions):
        side = rng.integers(1, 9)
        row, column = rng.integers(0, size - side, 2)
        mask[row : row + side, column : column + side] = True
    return (rng.normal(size=mask.shape) + shift * mask).astype(np.float32), mask


def _pixels(maps: list[np.ndarray], masks: list[np.ndarray], groups: list[str] | None = None) -> list[LabelledPixels]:
    groups = groups or [str(i) for i in range(len(maps))]
    return [LabelledPixels(m.ravel(), lesion_regions(k).ravel(), g) for m, k, g in zip(maps, masks, groups, strict=True)]


def _reference_aupro(maps: list[np.ndarray], masks: list[np.ndarray], limit: float) -> float:
    """Overlap with each lesion at every threshold, one by one, integrated by trapezoids up to the limit."""
    normal = np.concatenate([m[k == 0] for m, k in zip(maps, masks, strict=True)])
    lesions = []
    for m, k in zip(maps, masks, strict=True):
        regions = lesion_regions(k)
        lesions += [m[regions == number] for number in range(1, regions.max() + 1)]
    thresholds = np.unique(np.concatenate(maps))[::-1]
    x = np.array([0.0, *[(normal >= t).mean() for t in thresholds]])
    y = np.array([0.0, *[np.mean([(lesion >= t).mean() for lesion in lesions]) for t in thresholds]])
    grid = np.append(x[x < limit], limit)
    return float(np.trapezoid(np.append(y[x < limit], np.interp(limit, x, y)), grid) / limit)


@pytest.mark.parametrize("decimals", [1, 6])
def test_numbers_agree_with_exact_references(decimals):
    rng = np.random.default_rng(0)
    maps, masks = zip(*[_image(rng, lesions=n % 3 + 1) for n in range(5)], strict=True)
    maps = [m.round(decimals) for m in maps]
    found = localise(lambda: _pixels(maps, masks), resamples=10)
    values, truth = np.concatenate(maps).ravel(), np.concatenate(masks).ravel()
    precision, recall, _ = precision_recall_curve(truth, values)
    assert found.average_precision.value == pytest.approx(average_precision_score(truth, values), abs=1e-9)
    assert found.oracle_dice.value == pytest.approx((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max(), abs=1e-9)
    assert found.aupro.value == pytest.approx(_reference_aupro(maps, masks, 0.3), abs=2e-4)
    flagged = values > found.oracle_threshold
    assert 2 * (flagged & truth).sum() / (flagged.sum() + truth.sum()) == pytest.approx(found.oracle_dice.value, abs=1e-9)
    assert (found.pixels, found.prevalence) == (values.size, pytest.approx(truth.mean()))
    assert found.lesions == sum(lesion_regions(m).max() for m in masks)


@pytest.mark.parametrize("prevalence", [0.2, 1e-2, 1e-3])
def test_many_pixels_are_counted_to_a_thousandth(prevalence):
    rng = np.random.default_rng(1)
    truth = rng.random(400_000) < prevalence
    values = (rng.normal(size=truth.size) ** 2 * (1 + 6 * truth)).astype(np.float32)  # a heavy tail, as errors have
    pieces = [LabelledPixels(v, t.astype(int), "a") for v, t in zip(np.split(values, 8), np.split(truth, 8), strict=True)]
    found = localise(lambda: pieces)
    assert found.average_precision.value == pytest.approx(average_precision_score(truth, values), abs=1e-3)
    precision, recall, _ = precision_recall_curve(truth, values)
    assert found.oracle_dice.value == pytest.approx((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max(), abs=1e-3)


def test_a_perfect_map_gets_one_and_noise_gets_chance():
    rng = np.random.default_rng(2)
    masks = [_image(rng)[1] for _ in range(6)]
    perfect = localise(lambda: _pixels([m.astype(np.float32) for m in masks], masks))
    assert (perfect.average_precision.value, perfect.aupro.value, perfect.oracle_dice.value) == (1, 1, 1)
    noise = [rng.normal(size=(200, 200)).astype(np.float32) for _ in range(4)]
    large = [np.pad(np.ones((60, 60), dtype=bool), 70) for _ in range(4)]
    found = localise(lambda: _pixels(noise, large))
    assert found.average_precision.value == pytest.approx(found.prevalence, abs=0.01)
    assert found.aupro.value == pytest.approx(0.15, abs=0.01)  # the diagonal from 0 to 0.3, divided by 0.3


def test_every_lesion_counts_the_same_however_small():
    mask = np.zeros((30, 30), dtype=bool)
    mask[2:12, 2:12] = True
    mask[20, 20] = True
    only_small, only_large = np.zeros((2, 30, 30), dtype=np.float32)
    only_small[20, 20] = 1
    only_large[2:12, 2:12] = 1
    small, large = (localise(lambda m=m: _pixels([m], [mask])) for m in (only_small, only_large))
    assert small.aupro.value == pytest.approx(large.aupro.value)
    assert small.average_precision.value < 0.2 < large.average_precision.value


def test_lesions_are_joined_across_slices_and_corners():
    mask = np.zeros((3, 5, 5), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    mask[2, 4, 4] = True
    assert lesion_regions(mask).max() == 2
    assert lesion_regions(mask[:2].any(0)).max() == 1
    assert lesion_regions(np.eye(4)).max() == 1


def test_intervals_are_by_patient_and_copies_do_not_narrow_them():
    rng = np.random.default_rng(3)
    drawn = [_image(rng, shift=s) for s in rng.uniform(0.5, 3, 12)]
    maps, masks = [m for m, _ in drawn], [k for _, k in drawn]
    names = [str(i // 2) for i in range(12)]
    once = localise(lambda: _pixels(maps, masks, names))
    copies = localise(lambda: _pixels(maps * 3, masks * 3, names * 3))
    assert once.patients == copies.patients == 6
    for name in ("average_precision", "aupro", "oracle_dice"):
        first, second = getattr(once, name), getattr(copies, name)
        assert first.low < first.value < first.high
        assert (first.low, first.high) == pytest.approx((second.low, second.high), abs=2e-3)
    two = localise(lambda: _pixels(maps, masks, [str(i % 2) for i in range(12)]))
    assert two.aupro.low is None
    assert "at least 3 patients" in two.aupro.reason


def test_more_patients_than_clusters_are_all_counted():
    rng = np.random.default_rng(4)
    drawn = [_image(rng, size=12, lesions=i % 2) for i in range(300)]
    found = localise(lambda: _pixels(*map(list, zip(*drawn, strict=True))), resamples=50)
    assert (found.patients, found.pixels) == (300, 300 * 144)
    assert found.aupro.low < found.aupro.value < found.aupro.high


def test_memory_does_not_grow_with_the_number_of_images():
    def peak(images: int) -> int:
        def stream():
            rng = np.random.default_rng(0)
            for i in range(images):
                yield LabelledPixels(rng.random(200_000, dtype=np.float32), (np.arange(200_000) < 2000).astype(int), str(i % 4))

        tracemalloc.start()
        localise(stream, resamples=10)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(24) < 1.3 * peak(8)


@pytest.mark.parametrize(
    ("value", "region", "words"),
    [([0.0, 1.0], [0, 0], "no pixel is lesion"), ([0.0, 1.0], [1, 1], "no pixel is normal"), ([0.0, np.nan], [0, 1], "not finite")],
)
def test_what_cannot_be_judged_is_refused(value, region, words):
    with pytest.raises(MedoodError, match=words):
        localise(lambda: [LabelledPixels(np.array(value), np.array(region), "a")])


def test_a_sample_of_pixels_is_complete_while_it_fits_and_uniform_beyond():
    whole = PixelSample(capacity=100)
    whole.add(np.arange(60).reshape(6, 10))
    whole.add(np.arange(60, 90))
    assert np.array_equal(whole.values, np.arange(90))
    sample = PixelSample(capacity=20_000, seed=1)
    for start in range(0, 1_000_000, 50_000):
        sample.add(np.arange(start, start + 50_000))
    assert 8_000 < sample.values.size <= 20_000
    assert np.unique(sample.values).size == sample.values.size
    assert np.quantile(sample.values, (0.1, 0.5, 0.9)) / 1e6 == pytest.approx((0.1, 0.5, 0.9), abs=0.015)
    assert PixelSample().values.size == 0


def test_pixels_inside_the_body_are_judged_as_if_there_were_no_others():
    rng = np.random.default_rng(7)
    maps, masks = zip(*[_image(rng, lesions=2) for _ in range(5)], strict=True)
    bodies = [np.pad(np.ones((30, 32), dtype=bool), ((0, 10), (8, 0))) for _ in maps]
    pieces = _pixels(maps, masks)
    within = [replace(piece, inside=body.ravel()) for piece, body in zip(pieces, bodies, strict=True)]
    every, inside = localise_within(lambda: within, resamples=20)
    alone = [LabelledPixels(p.value[p.inside], p.region[p.inside], p.group) for p in within]
    expected = localise(lambda: alone, resamples=20)
    assert every.average_precision.value == pytest.approx(localise(lambda: pieces, resamples=20).average_precision.value, abs=1e-6)
    assert (inside.pixels, inside.lesions, inside.prevalence) == (5 * 30 * 32, expected.lesions, expected.prevalence)
    for name in ("average_precision", "aupro", "oracle_dice"):
        found, wanted = getattr(inside, name), getattr(expected, name)
        assert (found.value, found.low, found.high) == pytest.approx((wanted.value, wanted.low, wanted.high), abs=1e-3)
    assert every.pixels == 5 * 40 * 40


def test_without_an_outside_or_without_lesions_inside_there_is_one_number():
    rng = np.random.default_rng(8)
    (piece,) = _pixels(*([each] for each in _image(rng)))
    whole = np.ones(piece.value.size, dtype=bool)
    for inside in (None, whole, piece.region == 0, piece.region > 0):
        every, within = localise_within(lambda inside=inside: [replace(piece, inside=inside)], resamples=5)
        assert within is None
        assert every.pixels == piece.value.size
