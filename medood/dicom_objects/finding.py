"""What was found in one series or image: the one thing that every object is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medood.core.map_scale import MapScale
from medood.core.volume import Volume
from medood.dicom_objects.scored_by import Rule, ScoredBy
from medood.export.pictures import hottest_slices
from medood.export.verdict import Verdict

_MOST_SLICES = 6


@dataclass(frozen=True, eq=False)
class Heat:
    """The map of a volume, float32 (slices, rows, columns), and bool of what was examined; it was cut along `axis` of the array."""

    array: np.ndarray
    seen: np.ndarray
    axis: int
    scale: MapScale

    @property
    def region(self) -> np.ndarray:
        """Bool, of the map's shape: what was examined and is at or above the calibrated threshold of the map, as pictures colour it."""
        return (self.array >= self.scale.threshold) & self.seen


@dataclass(frozen=True, eq=False)
class Finding:
    """A volume with what a run says of it; `heat` is None for a detector without maps."""

    volume: Volume
    verdict: Verdict
    by: ScoredBy
    heat: Heat | None

    @property
    def rule(self) -> Rule | None:
        return self.by.rule(self.volume.geometry.shape[0])

    @property
    def hottest(self) -> list[int]:
        """At most six slices of the volume, ascending: those with the highest values of the map, or else with the highest scores.

        Slices without anything above the threshold of the map are left out, unless there is no other.
        """
        if self.heat is not None:
            chosen, region = hottest_slices(self.heat.array, _MOST_SLICES), self.heat.region
            return [number for number in chosen if region[number].any()] or chosen
        scored = self.verdict.slices or {0: (0.0, None)}
        return sorted(sorted(scored, key=lambda number: -scored[number][0])[:_MOST_SLICES])

    def of_slice(self, number: int) -> tuple[float | None, float | None]:
        """Score and p-value of a slice as it was acquired; None where the volume was cut another way or the slice was skipped."""
        if self.heat is not None and self.heat.axis != 0:
            return None, None
        return (self.verdict.slices or {}).get(number, (None, None))
