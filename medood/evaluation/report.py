"""What an evaluation found, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from medood.evaluation.level_report import LevelReport
from medood.metrics.intervals import Estimate
from medood.metrics.lesions import LesionDetection
from medood.metrics.pixel import Localisation

CONVENTIONS = {
    "positive": "anomalous (label 1); a higher score is more anomalous",
    "decision": "anomalous when score > threshold",
    "fpr_at_95_tpr": "smallest share of normal rows called anomalous by a threshold that finds at least 95 % of the anomalous rows",
    "oracle": "threshold chosen on these very labels; optimistic, for comparison with publications only",
    "intervals": "95 %; patients resampled with replacement, for rates at the run's threshold Korn-Graubard by patient",
    "out_of_domain": "rows that the run refused to judge count in their class, but neither as called anomalous nor as called normal",
    "seen": "rows of images that the run was trained or calibrated on, by id or as near-copies; score: of the other rows alone",
    "aupro": "mean overlap with each lesion (3-D for volumes) up to a false-positive rate of 0.3, divided by 0.3",
    "maps": "all pixels of the slices that count; inside: those in the body and examined",
    "lesions": "sensitivity: a peak of the map in the lesion, by false peaks per scan, normal scans included; at_threshold: an area above "
    "the run's threshold touches the lesion, false areas touch none; 3-D for volumes",
}


_NOT_WRITTEN = ("warnings", "rows", "points", "band", "roc_band", "precision_band", "rates", "froc")
"""Warnings stand together, arrays are drawn."""


@dataclass(frozen=True, eq=False)
class Report:
    """What an evaluation found; `report_tables.tables` shows it on a terminal, `to_dict` has the numbers.

    run      what scores.json says of the run, its threshold and false-alarm rate
    maps     pixel numbers of the "map" and of the "plain" intensity taken as a map; empty without maps
    inside   the same inside the body alone, where the maps tell it;  lesions  counted one by one
    notes    what was left out and why;  warnings  what throws doubt on the scores
    """

    run: Mapping[str, Any]
    levels: Sequence[LevelReport]
    maps: Mapping[str, Localisation]
    inside: Mapping[str, Localisation]
    lesions: Mapping[str, LesionDetection]
    notes: Sequence[str]
    warnings: Sequence[str]
    seed: int
    bootstraps: int

    def to_dict(self) -> dict[str, Any]:
        """The content of evaluation.json; numbers that do not exist are null."""
        whole = {"conventions": CONVENTIONS, **{field.name: getattr(self, field.name) for field in fields(self)}}
        return _plain({**whole, "levels": {level.level: level for level in self.levels}})


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and numbers as JSON has them; NaN and infinity become null."""
    if isinstance(value, Estimate):
        return _plain(value.to_dict())
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.name not in _NOT_WRITTEN}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
