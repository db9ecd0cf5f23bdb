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

    scores  (n,) of every image, higher is more anomalous, by name;  case  (n,) "" for normal images, which every case is compared with
    groups  (n,) patients, who are resampled
    """
    sampled = GroupBootstrap(groups, (case != "").astype(int), seed=seed)
    names = [name for name in dict.fromkeys(case.tolist()) if name]
    found = []
    for name, values in scores.items():
        by_case = {one: float(_auroc(values, case, one)) for one in names}

        def mean(weights: np.ndarray | None, values: np.ndarray = values) -> dict[str, np.ndarray]:
            return {"mean": np.nanmean([_auroc(values, case, one, weights) for one in names], axis=0)}

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


def _auroc(values: np.ndarray, case: np.ndarray, one: str, weights: np.ndarray | None = None) -> np.ndarray:
    rows = (case == "") | (case == one)
    return auroc(curve(values[rows], (case[rows] == one).astype(int), None if weights is None else weights[:, rows]))
