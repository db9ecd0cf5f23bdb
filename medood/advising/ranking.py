"""Who tells pasted anomalies from normal images best, and whether a trivial feature does as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medood.metrics.intervals import Estimate, GroupBootstrap
from medood.metrics.ranking import auroc, curve


@dataclass(frozen=True)
class Ranked:
    """A candidate's reading or a trivial feature: the mean over all cases of its AUROC, with the interval by patient, and each AUROC."""

    name: str
    mean: Estimate
    cases: Mapping[str, float]


def rank(scores: Mapping[str, np.ndarray], case: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> list[Ranked]:
    """By mean AUROC, the best first; of equal ones in the order given.

    scores  (n,) of every image, higher is more anomalous, by name
    case    (n,) "" for normal images. Every case is compared with those of its own patients, in the same proportions, so that an anomaly
            counts and not who got it: what changes nothing has an AUROC of exactly one half
    groups  (n,) patients, who are resampled
    """
    sampled = GroupBootstrap(groups, (case != "").astype(int), seed=seed)
    compared = {name: _Case.of(name, case, groups) for name in dict.fromkeys(case.tolist()) if name}
    found = []
    for name, values in scores.items():
        by_case = {one: float(each.auroc(values)) for one, each in compared.items()}

        def mean(weights: np.ndarray | None, values: np.ndarray = values) -> dict[str, np.ndarray]:
            return {"mean": np.nanmean([each.auroc(values, weights) for each in compared.values()], axis=0)}

        found.append(Ranked(name, sampled.estimates(mean)["mean"], by_case))
    return sorted(found, key=lambda each: -each.mean.value)


def directed(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Trivial features as scores, each in both directions."""
    both: dict[str, np.ndarray] = {}
    for name, values in features.items():
        word = name.removeprefix("plain_")
        both |= {f"{word}, higher": values, f"{word}, lower": -values}
    return both


def only_a_shortcut(best: Ranked, trivial: Ranked) -> bool:
    """Whether the best trivial feature lies within the interval of the best candidate, or above; without an interval, not below it."""
    return trivial.mean.value >= (best.mean.value if best.mean.low is None else best.mean.low)


@dataclass(frozen=True, eq=False)
class _Case:
    """The rows that are compared, their labels, and how often each counts."""

    rows: np.ndarray
    labels: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, one: str, case: np.ndarray, groups: np.ndarray) -> _Case:
        times = np.where(case == one, 1.0, 0.0)
        for group in np.unique(groups[case == one]):
            own = (case == "") & (groups == group)
            times[own] = float(np.sum((case == one) & (groups == group))) / max(1.0, float(own.sum()))
        if not times[case == ""].any():  # none of these patients has a normal image that counts
            times[case == ""] = 1.0
        rows = np.flatnonzero(times > 0)
        return cls(rows, (case[rows] == one).astype(int), times[rows])

    def auroc(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return auroc(curve(values[self.rows], self.labels, self.times if weights is None else weights[:, self.rows] * self.times))
