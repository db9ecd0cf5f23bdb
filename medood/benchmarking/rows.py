"""Rows of a benchmark's tables: our detectors, published figures right below them, trivial features last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from medood.benchmarking.published import Figures, Publication
from medood.export.table_model import Number, Row
from medood.recipe.benchmarks.comparison import Bounded, Comparison, Ranked
from medood.recipe.benchmarks.grid import INTRA

Measure = Literal["auroc", "oracle_fpr", "oracle_tpr", "run_fpr", "run_tpr"]
NOTHING = ""
"""A cell that is empty on purpose, unlike None: a result that should be there and is not."""

_PLAIN_NAMES = {
    "mean": "mean intensity",
    "std": "standard deviation",
    "p99": "99th percentile",
    "sharpness": "sharpness",
    "bytes": "bytes of the file",
}


@dataclass(frozen=True)
class Place:
    """What a column shows: a measure of the detectors trained on `cohort`, its normal images against the set `against`."""

    cohort: str
    against: str
    measure: Measure = "auroc"


@dataclass(frozen=True)
class Line:
    """A row of ours: a detector, or one component of its score.

    gated      the detector behind the gate of its run
    hindsight  the best of the components whose names are like `part`, in every column by the labels of the test
    """

    name: str
    detector: str
    part: str | None = None
    hindsight: bool = False
    gated: bool = False

    def ranked(self, comparison: Comparison) -> Ranked | None:
        """What the row shows of a comparison of its detector, if that has it."""
        if self.part is None:
            return comparison.gated if self.gated else comparison.score
        if not self.hindsight:
            return comparison.parts.get(self.part)
        found = [ranked for name, ranked in comparison.parts.items() if fnmatchcase(name, self.part)]
        return max(found, key=lambda ranked: ranked.auroc.value, default=None)


class Results:
    """The comparisons of a benchmark, found by cohort, detector and set. Raises ValueError when two of them are of the same three."""

    def __init__(
        self,
        comparisons: Sequence[Comparison],
        detectors: Sequence[str],
        outliers: Mapping[str, Sequence[str]],
        publication: Publication,
        failed: Mapping[tuple[str, str], str],
    ) -> None:
        self.detectors, self.outliers, self.publication, self.failed = detectors, outliers, publication, failed
        self._found = {(each.cohort, each.detector, each.against): each for each in comparisons}
        if len(self._found) < len(comparisons):
            raise ValueError("two comparisons are of the same cohort, detector and set")

    def comparison(self, place: Place, detector: str) -> Comparison | None:
        return self._found.get((place.cohort, detector, place.against))

    def began(self, cohort: str, detector: str) -> bool:
        """Whether there is any result of this detector on this cohort."""
        return any(key[:2] == (cohort, detector) for key in self._found)

    def rows(self, lines: Sequence[Line], places: Sequence[Place]) -> list[Row]:
        """Ours, each followed by what was published under its name on the same images; then what was published there under other names."""
        published = dict.fromkeys(name for place in places for name in self.publication.beside.get(place.cohort, ()))
        found = []
        for line in lines:
            found.append(Row(line.name, tuple(self.cell(line, place) for place in places), "hindsight" if line.hindsight else "ours"))
            if line.name in published:
                found += self._published_row(line.name, places)
        return found

    def others_published(self, shown: Sequence[str], places: Sequence[Place]) -> list[Row]:
        """What was published on the same images under names other than `shown`."""
        names = dict.fromkeys(name for place in places for name in self.publication.beside.get(place.cohort, ()) if name not in shown)
        return [row for name in names for row in self._published_row(name, places)]

    def cell(self, line: Line, place: Place) -> Number | str | None:
        comparison = self.comparison(place, line.detector)
        if comparison is None:
            return None
        if place.measure in ("run_fpr", "run_tpr"):
            return NOTHING if line.hindsight else _number(getattr(comparison, place.measure))
        return _measured(line.ranked(comparison), place.measure)

    def trivial_rows(self, places: Sequence[Place]) -> list[Row]:
        """A row per trivial feature and direction; empty in the columns where the other direction is the better one."""
        strongest = [self._strongest(place) for place in places]
        found = []
        for feature in dict.fromkeys(name for features in strongest for name in features):
            directions = {features[feature].direction for features in strongest if feature in features}
            for direction in sorted(directions):
                cells = [_trivial_cell(features.get(feature), direction, place) for features, place in zip(strongest, places, strict=True)]
                found.append(Row(f"{_plain_name(feature)} ({direction})", tuple(cells), "trivial"))
        return found

    def _strongest(self, place: Place) -> dict[str, Ranked]:
        """Trivial features by name. Detectors that see the images in different sizes have different ones: the best of each is taken."""
        found: dict[str, Ranked] = {}
        for detector in self.detectors:
            comparison = self.comparison(place, detector)
            for name, ranked in (comparison.plain if comparison else {}).items():
                if name not in found or ranked.auroc.value > found[name].auroc.value:
                    found[name] = ranked
        return found

    def _published_row(self, name: str, places: Sequence[Place]) -> list[Row]:
        rows = [self.publication.beside.get(place.cohort, {}).get(name) for place in places]
        cells = [self._published_cell(figures, place) for figures, place in zip(rows, places, strict=True)]
        return [Row(f"{name}, published", tuple(cells), "published")] if any(isinstance(cell, Number) for cell in cells) else []

    def _published_cell(self, figures: Figures | None, place: Place) -> Number | str:
        if figures is None or place.measure in ("run_fpr", "run_tpr"):
            return NOTHING
        if place.against == INTRA:
            own = {"auroc": figures.auroc, "oracle_fpr": figures.fpr, "oracle_tpr": figures.tpr}
            return own[place.measure] or NOTHING
        at = list(self.outliers[place.cohort]).index(place.against)
        return (figures.against[at] if at < len(figures.against) else None) or NOTHING


def _trivial_cell(ranked: Ranked | None, direction: str, place: Place) -> Number | str | None:
    if place.measure in ("run_fpr", "run_tpr") or (ranked and ranked.direction != direction):
        return NOTHING
    return _measured(ranked, place.measure)


def _plain_name(feature: str) -> str:
    name = feature.removeprefix("plain_")
    return _PLAIN_NAMES.get(name, name)


def _measured(ranked: Ranked | None, measure: Measure) -> Number | None:
    if ranked is None:
        return None
    seeds = [value for value in ranked.by_seed if math.isfinite(value)]
    between = (min(seeds), max(seeds)) if measure == "auroc" and len(seeds) > 1 else None
    return _number(getattr(ranked, measure), between)


def _number(bounded: Bounded | None, seeds: tuple[float, float] | None = None) -> Number | None:
    if bounded is None or not math.isfinite(bounded.value):
        return None
    return Number(bounded.value, bounded.low, bounded.high, bounded.spread, seeds)
