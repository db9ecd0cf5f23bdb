"""How well anomaly maps find lesions: pixel average precision, AUPRO and best Dice over any number of images, in bounded memory.

Decision as in `ranking`: a pixel is called anomalous when its value lies strictly above the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import ndimage

from medood.core.errors import MedoodError
from medood.metrics.intervals import Estimate, GroupBootstrap
from medood.metrics.ranking import Curve, average_precision, oracle_dice
from medood.metrics.sampling import PixelSample

_STEPS = 2048  # thresholds from each class; see `localise` for the error this makes
_CLUSTERS = 256


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """The pixels of one image or volume that count.

    value   (n,) map values, higher is more anomalous
    region  int (n,) 0 in normal tissue, the number of the lesion elsewhere; numbers are private to this image
    group   patient
    inside  bool (n,), True in the body and where something was examined; None where that is not known
    """

    value: np.ndarray
    region: np.ndarray
    group: str
    inside: np.ndarray | None = None


@dataclass(frozen=True)
class Localisation:
    """Pixel numbers of a map. The Dice coefficient is named oracle because its threshold is chosen on the labels themselves.

    average_precision  of all pixels together;  prevalence  share of lesion pixels, which is what a map of noise would get
    aupro              mean overlap with each lesion over false-positive rates up to `fpr_limit`, divided by the limit: 0..1
    oracle_dice        largest Dice coefficient over all thresholds, all pixels together
    """

    average_precision: Estimate
    aupro: Estimate
    oracle_dice: Estimate
    oracle_threshold: float
    fpr_limit: float
    prevalence: float
    pixels: int
    lesions: int
    patients: int


def lesion_regions(mask: np.ndarray) -> np.ndarray:
    """Number the connected components of a 2-D or 3-D mask from 1; pixels that touch at a corner belong together."""
    return ndimage.label(np.asarray(mask) != 0, structure=np.ones((3,) * np.ndim(mask)))[0]


def localise(
    images: Callable[[], Iterable[LabelledPixels]], *, fpr_limit: float = 0.3, resamples: int = 1000, seed: int = 0
) -> Localisation:
    """Judge a map on all labelled pixels; `images()` is called twice, and its images are looked at one at a time.

    The first pass takes up to 2048 thresholds from the lesion pixels and as many from the normal ones, at equal steps of rank; the second
    counts the pixels above each. Values between neighbouring thresholds count as ties, so the numbers differ from those of a full sort by
    less than 1e-3, and the average precision of up to 2048 lesion pixels is exact. Intervals resample patients; beyond 256 patients,
    clusters of patients. Raises MedoodError when a value is not finite or when one of the two kinds of pixels is absent.
    """
    return localise_within(images, fpr_limit=fpr_limit, resamples=resamples, seed=seed)[0]


def localise_within(
    images: Callable[[], Iterable[LabelledPixels]], *, fpr_limit: float = 0.3, resamples: int = 1000, seed: int = 0
) -> tuple[Localisation, Localisation | None]:
    """As `localise`: of all pixels, and of those inside the body alone.

    The latter is None when nothing tells the inside of the images apart, or when it holds no lesion or no normal pixel. An image that does
    not tell lies inside as a whole.
    """
    edges, apart = _thresholds(images, seed)
    every, inside = _count(images(), edges)
    judged = partial(_judge, fpr_limit=fpr_limit, resamples=resamples, seed=seed)
    both = inside.above[:, :2, -1].sum(0).all()
    return judged(every), judged(inside) if apart and both else None


def _judge(counts: _Counts, *, fpr_limit: float, resamples: int, seed: int) -> Localisation:
    totals = counts.above.sum(0)
    every = Curve(counts.threshold, totals[0], totals[1])

    def statistic(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        above = totals if weights is None else np.tensordot(weights[:, : len(counts.above)], counts.above, 1)
        lesion, normal, overlap = np.moveaxis(above, -2, 0)
        pixels = Curve(counts.threshold, lesion, normal)
        return {
            "average_precision": average_precision(pixels),
            "aupro": aupro(Curve(counts.threshold, overlap, normal), fpr_limit),
            "oracle_dice": oracle_dice(pixels)[0],
        }

    clusters = GroupBootstrap(*_rows(counts.above), resamples=resamples, seed=seed)
    return Localisation(
        **clusters.estimates(statistic, width=3 * len(counts.threshold)),
        oracle_threshold=float(oracle_dice(every)[1]),
        fpr_limit=fpr_limit,
        prevalence=float(totals[0, -1] / totals[:2, -1].sum()),
        pixels=int(totals[:2, -1].sum()),
        lesions=round(totals[2, -1]),
        patients=counts.patients,
    )


def aupro(c: Curve, fpr_limit: float = 0.3) -> np.ndarray:
    """(...,) area under the per-region-overlap curve up to a false-positive rate, divided by that rate.

    In `c`, every lesion has the same weight, shared by its pixels (Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021).
    """
    x, y = c.fpr, c.tpr
    step = np.diff(x, axis=-1)
    used = np.minimum(x[..., 1:], fpr_limit) - np.minimum(x[..., :-1], fpr_limit)
    fraction = np.divide(used, step, out=np.zeros_like(step), where=step > 0)
    end = y[..., :-1] + np.diff(y, axis=-1) * fraction
    return (used * (y[..., :-1] + end) / 2).sum(-1) / fpr_limit


@dataclass(frozen=True, eq=False)
class _Counts:
    """threshold (K,) descending; above (clusters, 3, K): lesion pixels, normal pixels, lesions (each weighs 1) above each threshold."""

    threshold: np.ndarray
    above: np.ndarray
    patients: int


def _thresholds(images: Callable[[], Iterable[LabelledPixels]], seed: int) -> tuple[np.ndarray, bool]:
    """(m,) float32 ascending: values at equal steps of rank among lesion pixels, normal pixels, and normal pixels inside the body; and
    whether some pixel lies outside."""
    samples = {kind: PixelSample(seed=seed) for kind in ("lesion", "normal", "inside")}
    apart = False
    for image in images():
        value = np.asarray(image.value, dtype=np.float32)
        if not np.isfinite(value).all():
            raise MedoodError("A map holds values that are not finite numbers: leave those pixels out, or score the images again.")
        samples["lesion"].add(value[image.region > 0])
        samples["normal"].add(value[image.region == 0])
        if image.inside is not None and not image.inside.all():
            samples["inside"].add(value[(image.region == 0) & image.inside])
            apart = True
    steps = np.linspace(0, 1, _STEPS)
    for name in ("lesion", "normal"):
        if not samples[name].values.size:
            raise MedoodError(f"Localisation needs lesion and normal pixels, but no pixel is {name}: check the masks and the labels.")
    edges = {kind: np.quantile(sample.values, steps, method="nearest") for kind, sample in samples.items() if sample.values.size}
    just_below = np.nextafter(edges["lesion"], np.float32(-np.inf))  # a lesion value apart from the normal values beneath it
    return np.unique(np.concatenate([*edges.values(), just_below])), apart


def _count(images: Iterable[LabelledPixels], edges: np.ndarray) -> tuple[_Counts, _Counts]:
    """Of all pixels, and of those inside the body."""
    every: dict[int, np.ndarray] = {}
    inside: dict[int, np.ndarray] = {}
    patients: dict[str, int] = {}
    lowest = edges[0]
    for image in images:
        value = np.asarray(image.value, dtype=np.float32)
        cluster = patients.setdefault(image.group, len(patients)) % _CLUSTERS
        shape = (3, len(edges) + 2)
        counted = _above_each(value, image.region, edges)
        every[cluster] = every.get(cluster, np.zeros(shape)) + counted
        if image.inside is not None and not image.inside.all():
            counted = _above_each(value[image.inside], image.region[image.inside], edges)
        inside[cluster] = inside.get(cluster, np.zeros(shape)) + counted
        lowest = min(lowest, value.min(initial=lowest))
    threshold = np.concatenate([edges[-1:], edges[::-1], [np.nextafter(lowest, -np.inf)]])
    first, second = (np.stack([clusters[i] for i in sorted(clusters)]) for clusters in (every, inside))
    return _Counts(threshold, first, len(patients)), _Counts(threshold, second, len(patients))


def _above_each(value: np.ndarray, region: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(3, m + 2): lesion pixels, normal pixels, and lesions by their share, above each edge."""
    lesion, numbers = value[region > 0], region[region > 0]
    overlap = _above(lesion, edges, 1 / np.bincount(numbers)[numbers]) if lesion.size else np.zeros(len(edges) + 2)
    return np.stack([_above(lesion, edges), _above(value[region == 0], edges), overlap])


def _above(values: np.ndarray, edges: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(m + 2,) weight of the values above nothing, above each edge from the highest down, and of all values."""
    if weights is None:
        below = np.searchsorted(np.sort(values), edges, side="right")
        return np.concatenate([[0], (values.size - below)[::-1], [values.size]])
    order = np.argsort(values)
    summed = np.append(0, np.cumsum(weights[order]))
    below = summed[np.searchsorted(values[order], edges, side="right")]
    return np.concatenate([[0], (summed[-1] - below)[::-1], summed[-1:]])


def _rows(above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups and labels for the bootstrap: one row per cluster in order, then another one for the normal pixels of those with lesions."""
    lesions, normals = above[:, 0, -1] > 0, above[:, 1, -1] > 0
    both = np.flatnonzero(lesions & normals)
    return np.concatenate([np.arange(len(above)), both]), np.concatenate([lesions.astype(int), np.zeros(len(both), int)])
