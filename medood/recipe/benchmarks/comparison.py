"""Results of a benchmark: one detector on one cohort against one set of anomalous images, as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Bounded:
    """A number, its 95 % interval by patient, and its standard deviation over 10 bootstraps (CVAD, Table II)."""

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """A number that is not finite becomes None, which JSON can say."""
        return {name: _finite(getattr(self, name)) for name in ("value", "low", "high", "spread")}


@dataclass(frozen=True)
class Ranked:
    """How well a score ranks, as means over the seeds.

    auroc                   in [0, 1]
    oracle_fpr, oracle_tpr  rates at the threshold of the largest geometric mean, chosen on the test labels
    by_seed                 AUROC of each seed
    direction               of a trivial feature: whether higher or lower values were taken as anomalous
    """

    auroc: Bounded
    oracle_fpr: Bounded
    oracle_tpr: Bounded
    by_seed: tuple[float, ...]
    direction: Literal["higher", "lower"] = "higher"

    def to_dict(self) -> dict[str, Any]:
        rates = {name: getattr(self, name).to_dict() for name in ("auroc", "oracle_fpr", "oracle_tpr")}
        return {**rates, "by_seed": [_finite(value) for value in self.by_seed], "direction": self.direction}


@dataclass(frozen=True)
class Comparison:
    """One detector (all its seeds) trained on one cohort: the cohort's normal test images against one set of anomalous images.

    against           "intra": the cohort's own anomalous images; else the name of an outlier set
    level             what is counted: "slice" or "image"
    normal, anomalous, patients   how many, normal and anomalous ones together for the patients
    gated             the score where an image that the run's gate refuses counts as more anomalous than all that it lets in
    parts             component scores of the detector, by their name
    plain             trivial features, the better of both directions
    run_fpr, run_tpr  rates at the run's own threshold, which rests on held-out normal images; None without such a threshold
    false_alarm_rate  what the run's threshold promises, as a share; None without such a threshold
    """

    cohort: str
    detector: str
    against: str
    level: str
    normal: int
    anomalous: int
    patients: int
    seeds: tuple[int, ...]
    score: Ranked
    gated: Ranked
    parts: Mapping[str, Ranked]
    plain: Mapping[str, Ranked]
    run_fpr: Bounded | None
    run_tpr: Bounded | None
    false_alarm_rate: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can say."""
        names = ("cohort", "detector", "against", "level", "normal", "anomalous", "patients")
        return {
            **{name: getattr(self, name) for name in names},
            "seeds": list(self.seeds),
            "score": self.score.to_dict(),
            "gated": self.gated.to_dict(),
            "parts": {name: ranked.to_dict() for name, ranked in self.parts.items()},
            "plain": {name: ranked.to_dict() for name, ranked in self.plain.items()},
            "run_fpr": self.run_fpr and self.run_fpr.to_dict(),
            "run_tpr": self.run_tpr and self.run_tpr.to_dict(),
            "false_alarm_rate": _finite(self.false_alarm_rate),
        }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
