"""Which run made a score, and by which rule it decides: what whoever reads the score elsewhere must know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A score above `threshold` is called anomalous, which befalls the share `false_alarm_rate` of normal ones."""

    threshold: float
    false_alarm_rate: float


@dataclass(frozen=True)
class ScoredBy:
    """A run and the medood that it scored with; `image` and `series` are its rules, None where it has no decision.

    checksum  of the run's manifest, which names the checksums of all its files
    """

    run: str
    detector: str
    checksum: str
    medood: str
    image: Rule | None
    series: Rule | None

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> ScoredBy:
        """Raises TypeError or KeyError when it is not what `to_dict` made."""
        rules = {level: Rule(**values[level]) if values[level] else None for level in ("image", "series")}
        return cls(**{**values, **rules})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def rule(self, slices: int) -> Rule | None:
        """How the whole of an entry of so many slices is decided."""
        return self.image if slices == 1 else self.series
