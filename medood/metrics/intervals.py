"""95 % intervals that respect patients: several images of one patient are not several independent observations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from medood.metrics.ranking import Curve, auroc, curve

MIN_PATIENTS = 3
LEVELS = (0.025, 0.975)  # of the ends of a 95 % interval
_CHUNK = 1_000_000  # numbers held at once: resamples x rows

Statistic = Callable[[np.ndarray | None], Mapping[str, np.ndarray]]
"""Numbers by name for weights (b, n) of b resamples, each (b,); for None the numbers of the data themselves, each ()."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; `low` and `high` are None when there is none, and `reason` says why."""

    value: float
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, float | str | None]:
        bounds: dict[str, float | str | None] = {"value": self.value, "low": self.low, "high": self.high}
        return {**bounds, "reason": self.reason} if self.reason else bounds


class GroupBootstrap:
    """Resamples of whole patients, with replacement.

    Stratified: patients with normal images only, with anomalous images only, and with both are drawn within their own kind, so that every
    resample keeps the make-up of the data; a kind with a single patient is drawn together with the largest other kind. There is no interval
    when either class comes from fewer than 3 patients. The same resamples serve every statistic, so that differences are paired.
    Percentile intervals cannot see beyond the data: scores that separate the classes perfectly get the interval [1, 1].

    groups  (n,) patient of each row;  labels  (n,) 0 or 1
    """

    def __init__(self, groups: np.ndarray, labels: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> None:
        keys, self._patient = np.unique(np.asarray(groups), return_inverse=True)
        kinds = _kinds(self._patient, np.asarray(labels), len(keys))
        self.patients = len(keys)
        fewest = min(np.count_nonzero(kinds & 1), np.count_nonzero(kinds & 2))
        few = f"an interval needs at least {MIN_PATIENTS} patients in each class, found {fewest}"
        self.reason = few if fewest < MIN_PATIENTS else ""
        self._times = np.zeros((resamples, len(keys)), dtype=np.int32)
        rng = np.random.default_rng(seed)
        for members in _strata(kinds):
            self._times[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)

    def draws(self, statistic: Statistic, width: int = 0) -> dict[str, np.ndarray]:
        """The statistic of every resample, each (resamples,). `width` numbers are held per resample, if that is more than the rows."""
        chunks = [statistic(weights) for weights in self._weights(width)]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def estimates(self, statistic: Statistic, width: int = 0) -> dict[str, Estimate]:
        """The statistic of the data with its interval, by name; `width` as for `draws`."""
        values = statistic(None)
        draws = {} if self.reason else self.draws(statistic, width)
        return {name: self.estimate(float(value), draws.get(name)) for name, value in values.items()}

    def estimate(self, value: float, draws: np.ndarray | None) -> Estimate:
        """The value with the percentile interval of its draws; without one when there are too few patients."""
        if self.reason or draws is None:
            return Estimate(value, reason=self.reason)
        low, high = np.nanquantile(draws, LEVELS)
        return Estimate(value, float(low), float(high))

    def _weights(self, width: int) -> Iterator[np.ndarray]:
        step = max(1, _CHUNK // max(1, width, len(self._patient)))
        for start in range(0, len(self._times), step):
            yield self._times[start : start + step, self._patient]


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    metric: Callable[[Curve], np.ndarray] = auroc,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """metric(first) - metric(second) for two scores (n,) of the same rows; the interval resamples both together."""

    def difference(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        return {"difference": metric(curve(first, labels, weights)) - metric(curve(second, labels, weights))}

    return GroupBootstrap(groups, labels, resamples=resamples, seed=seed).estimates(difference)["difference"]


def clustered_rate(hit: np.ndarray, groups: np.ndarray) -> Estimate:
    """The share of rows `hit` (n,) bool and its interval when rows of one patient (`groups`, (n,)) belong together.

    Korn and Graubard (Survey Methodology 24, 1998, 193-201): the exact binomial interval at the effective sample size. With one row per
    patient it is the Clopper-Pearson interval.
    """
    hit, patients = np.asarray(hit, dtype=float), len(np.unique(groups))
    share = float(hit.mean()) if len(hit) else float("nan")
    if patients < MIN_PATIENTS:
        return Estimate(share, reason=f"an interval needs at least {MIN_PATIENTS} patients, found {patients}")
    effective = effective_size(hit, groups)
    hits = share * effective
    low = stats.beta.ppf(LEVELS[0], hits, effective - hits + 1) if share > 0 else 0.0
    high = stats.beta.ppf(LEVELS[1], hits + 1, effective - hits) if share < 1 else 1.0
    return Estimate(share, float(low), float(high))


def effective_size(hit: np.ndarray, groups: np.ndarray) -> float:
    """How many independent rows would tell as much of the share of rows `hit` (n,) as these rows of patients `groups` (n,) do.

    n divided by the design effect of the patients and corrected for few patients (Korn and Graubard). Where the patients tell nothing about
    the design effect (a share of 0 or 1, fewer than 3 patients), each patient counts as one row.
    """
    hit, n = np.asarray(hit, dtype=float), len(hit)
    keys, patient = np.unique(np.asarray(groups), return_inverse=True)
    share = float(hit.mean())
    if len(keys) < MIN_PATIENTS or not 0 < share < 1:
        return float(len(keys))
    excess = np.bincount(patient, hit - share)
    variance = (excess**2).sum() * len(keys) / (len(keys) - 1) / n**2
    design_effect = max(1.0, variance / (share * (1 - share) / (n - 1)))
    few_patients = (stats.t.ppf(LEVELS[1], n - 1) / stats.t.ppf(LEVELS[1], len(keys) - 1)) ** 2
    return float(n / design_effect * few_patients)


def _kinds(patient: np.ndarray, labels: np.ndarray, patients: int) -> np.ndarray:
    """(patients,) 1 with normal rows only, 2 with anomalous rows only, 3 with both."""
    normal = np.bincount(patient, labels == 0, patients) > 0
    anomalous = np.bincount(patient, labels == 1, patients) > 0
    return normal * 1 + anomalous * 2


def _strata(kinds: np.ndarray) -> list[np.ndarray]:
    """Indices of the patients that are drawn together."""
    strata = sorted((np.flatnonzero(kinds == kind) for kind in np.unique(kinds)), key=len)
    while len(strata) > 1 and len(strata[0]) == 1:
        strata = sorted([*strata[1:-1], np.concatenate([strata[-1], strata[0]])], key=len)
    return strata
