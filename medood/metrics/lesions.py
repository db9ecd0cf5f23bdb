"""How many lesions a map finds, and how many false findings come with them.

A radiologist counts lesions, not pixels. Two counts are usual and both are given:

FROC              Every peak of the map (a plateau of values that no neighbour exceeds) is a finding with its value as the confidence. A
                  finding that lies in a lesion finds it; several findings in one lesion count once and harm nothing; a finding outside all
                  lesions is false. Sensitivity is read off where 1/8, 1/4, ... 8 findings per scan are false, scans without a lesion
                  included, and their mean is the score: the conventions of LUNA16 (Setio et al., Medical Image Analysis 42, 2017) and, on
                  its own rates, of CAMELYON16 (Ehteshami Bejnordi et al., JAMA 318, 2017).
at a threshold    The map is cut at the run's own threshold, as it is coloured. A lesion is found when a coloured area touches it, and an
                  area that touches no lesion is false: the lesion-wise true-positive and false-positive rates of the MS challenges
                  (Carass et al., NeuroImage 148, 2017). Publications that ask for more overlap, such as an IoU of 0.1, find fewer.

Lesions and areas are connected components, in 3-D for volumes; voxels that touch at a corner belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.morphology import local_maxima

from medood.metrics.bands import Band, band
from medood.metrics.intervals import Estimate, GroupBootstrap
from medood.metrics.ranking import curve

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False findings per scan at which sensitivity is read off."""

_GRID = np.geomspace(RATES[0], RATES[-1], 49)  # every eighth is one of RATES
_ROOM = 4  # false findings are kept up to so many times the largest rate, for resamples with more of them
_MOST = 1_000_000


@dataclass(frozen=True, eq=False)
class LesionMap:
    """A map of one volume or picture.

    value    (...) 2-D or 3-D, higher is more anomalous;  region  int, 0 in normal tissue, else the number of the lesion
    counted  bool, False where nothing was scored or nobody knows the truth;  group  patient
    """

    value: np.ndarray
    region: np.ndarray
    counted: np.ndarray
    group: str


@dataclass(frozen=True)
class AtThreshold:
    """Coloured areas: share of the lesions that one touches, false ones per scan, and the share of areas that are false."""

    threshold: float
    sensitivity: Estimate
    false_per_scan: Estimate
    false_share: Estimate


@dataclass(frozen=True, eq=False)
class LesionDetection:
    """Sensitivities by false findings per scan, their mean, and, where a threshold is known, what the coloured areas find.

    froc  the sensitivity at `band.x` false findings per scan, (n,);  band  None where there are too few patients
    """

    lesions: int
    scans: int
    patients: int
    sensitivity: Mapping[str, Estimate]
    mean_sensitivity: Estimate
    at_threshold: AtThreshold | None
    rates: np.ndarray
    froc: np.ndarray
    band: Band | None


@dataclass(frozen=True, eq=False)
class _Findings:
    """Of all scans: lesions by the confidence of what finds them (-inf: nothing does), false findings by theirs, areas by count."""

    lesions: np.ndarray
    lesion_groups: np.ndarray
    false: np.ndarray
    false_groups: np.ndarray
    groups: np.ndarray
    areas: np.ndarray


def detect(maps: Iterable[LesionMap], *, threshold: float | None = None, resamples: int = 1000, seed: int = 0) -> LesionDetection | None:
    """Count lesions found and false findings; None when there is no lesion. Maps are looked at one at a time; intervals are by patient."""
    found = _collect(maps, threshold)
    if not found.lesions.size:
        return None
    scores, labels, groups = _rows(found)
    bootstrap = GroupBootstrap(groups, labels, resamples=resamples, seed=seed)
    froc = _froc(scores, labels, len(found.groups), None)
    draws = None
    if not bootstrap.reason:
        draws = bootstrap.draws(lambda weights: {"froc": _froc(scores, labels, len(found.groups), weights)})["froc"]
    drawn = {} if draws is None else _named(draws)
    estimates = {name: bootstrap.estimate(float(value), drawn.get(name)) for name, value in _named(froc).items()}
    mean = estimates.pop("mean")
    return LesionDetection(
        lesions=found.lesions.size,
        scans=len(found.groups),
        patients=len(np.unique(found.groups)),
        sensitivity=estimates,
        mean_sensitivity=mean,
        at_threshold=None if threshold is None else _at_threshold(found, threshold, resamples, seed),
        rates=_GRID,
        froc=froc,
        band=None if draws is None else band(_GRID, draws),
    )


def peaks(scan: LesionMap) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of the best peak in each lesion (-inf without one), by ascending number, and those of the peaks outside lesions."""
    lowest = scan.value.min() - 1
    value = np.where(scan.counted, scan.value, lowest)
    flat = np.ptp(scan.value[scan.counted]) == 0 if scan.counted.any() else True  # such a map points at nothing
    labels, count = _components(np.zeros_like(scan.counted) if flat else local_maxima(value, connectivity=value.ndim) & scan.counted)
    region = np.where(scan.counted, scan.region, 0)
    numbers = np.unique(region[region > 0])
    confidence = np.full(count + 1, -np.inf)
    inside = labels > 0
    confidence[labels[inside]] = value[inside]
    best = np.full(region.max(initial=0) + 1, -np.inf)
    hit = inside & (region > 0)
    np.maximum.at(best, region[hit], confidence[labels[hit]])
    false = np.ones(count + 1, bool)
    false[labels[hit]] = False
    return best[numbers], confidence[1:][false[1:]]


def areas(scan: LesionMap, threshold: float) -> tuple[int, int, int, int]:
    """Lesions, lesions that an area above the threshold touches, areas, and areas that touch no lesion."""
    labels, count = _components((scan.value > threshold) & scan.counted)
    region = np.where(scan.counted, scan.region, 0)
    both = (labels > 0) & (region > 0)
    lesions = np.unique(region[region > 0]).size
    return lesions, np.unique(region[both]).size, count, count - np.unique(labels[both]).size


def _components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    return ndimage.label(mask, structure=np.ones((3,) * mask.ndim))


def _collect(maps: Iterable[LesionMap], threshold: float | None) -> _Findings:
    lesions, false, groups, counts = [], [], [], []
    floor = -np.inf
    for scan in maps:
        found, wrong = peaks(scan)
        lesions.append(found)
        false.append(wrong[wrong > floor])
        groups.append(scan.group)
        counts.append((0, 0, 0, 0) if threshold is None else areas(scan, threshold))
        if sum(map(len, false)) > 2 * _MOST:
            floor = np.partition(np.concatenate(false), -_MOST)[-_MOST]
            false = [each[each > floor] for each in false]
    names = np.array(groups)
    owners = [np.repeat(np.arange(len(names)), [len(each) for each in values]) for values in (lesions, false)]
    confidences = [np.concatenate([*values, np.zeros(0)]) for values in (lesions, false)]
    keep = min(len(confidences[1]), int(_ROOM * RATES[-1] * len(names)) + 1)
    best = np.argsort(-confidences[1], kind="stable")[:keep]
    return _Findings(confidences[0], names[owners[0]], confidences[1][best], names[owners[1][best]], names, np.array(counts).reshape(-1, 4))


def _rows(found: _Findings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences, labels and patients of lesions (1), of false findings (0), and of one row more for each scan, to count scans by.

    The rows of scans lie below every threshold, as do lesions that nothing finds.
    """
    confidence = np.concatenate([found.lesions, found.false])
    finite = confidence[np.isfinite(confidence)]
    nothing = (finite.min() if finite.size else 0.0) - 1
    scores = np.concatenate([np.where(np.isfinite(confidence), confidence, nothing), np.full(len(found.groups), nothing)])
    labels = np.repeat([1, 0], [len(found.lesions), len(scores) - len(found.lesions)])
    return scores, labels, np.concatenate([found.lesion_groups, found.false_groups, found.groups])


def _froc(scores: np.ndarray, labels: np.ndarray, scans: int, weights: np.ndarray | None) -> np.ndarray:
    """(..., n) the highest sensitivity with at most `_GRID` false findings per scan; the last `scans` rows count the scans."""
    c = curve(scores, labels, weights)
    count = scans if weights is None else weights[..., -scans:].sum(-1, keepdims=True)
    false_per_scan, sensitivity = c.fp[..., :-1] / count, c.tp[..., :-1] / c.tp[..., -1:]
    at = (false_per_scan[..., None, :] <= _GRID[:, None] * (1 + 1e-12)).sum(-1) - 1
    return np.take_along_axis(sensitivity, at, axis=-1)


def _named(froc: np.ndarray) -> dict[str, np.ndarray]:
    read_off = {_name(rate): froc[..., 8 * number] for number, rate in enumerate(RATES)}
    return {**read_off, "mean": froc[..., ::8].mean(-1)}


def _name(rate: float) -> str:
    return f"{rate:g}"


def _at_threshold(found: _Findings, threshold: float, resamples: int, seed: int) -> AtThreshold:
    """Ratios of sums over scans; rows of the bootstrap are scans, and those with a lesion once more, so that each resample has some."""
    with_lesion = found.areas[:, 0] > 0
    groups = np.concatenate([found.groups, found.groups[with_lesion]])
    labels = np.repeat([0, 1], [len(found.groups), int(with_lesion.sum())])
    bootstrap = GroupBootstrap(groups, labels, resamples=resamples, seed=seed)

    def statistic(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        scans = np.ones(len(found.groups)) if weights is None else weights[..., : len(found.groups)]
        lesions, hit, count, false = np.moveaxis(scans @ found.areas, -1, 0)
        return {"sensitivity": hit / lesions, "false_per_scan": false / scans.sum(-1), "false_share": false / np.maximum(count, 1)}

    return AtThreshold(threshold, **bootstrap.estimates(statistic))
