"""The lines below a benchmark's tables: what the signs mean, what is missing and why, and how many images and seeds there are."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence

from medood.benchmarking.rows import NOTHING, Line, Place, Results
from medood.export.table_model import MISSING, Block, Number, decimal
from medood.recipe.benchmarks.comparison import Comparison
from medood.recipe.benchmarks.grid import INTRA

_LEVELS = {"image": "images", "slice": "slices"}


def notes(
    results: Results,
    lines: Sequence[Line],
    places: Sequence[Place],
    blocks: Sequence[Block],
    *,
    intervals: bool = True,
    spreads: bool = True,
) -> tuple[str, ...]:
    """Notes for a table with these rows of ours, columns and cells; `intervals` and `spreads` say whether the table prints them."""
    return (
        *_signs(blocks, results.publication.title, intervals, spreads),
        *_thresholds(results, lines, places),
        *_hindsight(results, lines, places),
        *_missing(results, lines, places),
        *_seeds(results, lines, places),
        *_counts(results, lines, places),
    )


def _signs(blocks: Sequence[Block], publication: str, intervals: bool, spreads: bool) -> Iterator[str]:
    rows = [row for block in blocks for row in block.rows]
    numbers = [cell for row in rows for cell in row.cells if isinstance(cell, Number)]
    signs = []
    if intervals and any(number.low is not None for number in numbers):
        signs.append("Brackets: 95 % interval by patient.")
    if spreads and any(number.spread is not None for number in numbers):
        signs.append("±: standard deviation over 10 bootstraps.")
    if signs:
        yield " ".join(signs)
    if any(row.kind == "published" for row in rows):
        yield f"Published figures{', with the ± of the publication' if spreads else ''}: {publication}."
    if any(row.kind == "trivial" for row in rows):
        yield "Trivial features know nothing of anatomy; in parentheses the values taken as anomalous: those that separate better."
    if any(cell == NOTHING for row in rows for cell in row.cells):
        yield "An empty cell: not published, not applicable, or a trivial feature whose other direction separates better."


def _thresholds(results: Results, lines: Sequence[Line], places: Sequence[Place]) -> Iterator[str]:
    measures = {place.measure for place in places}
    if measures & {"oracle_fpr", "oracle_tpr"}:
        yield "FPR and TPR at the oracle threshold: chosen on the test labels (largest geometric mean), so they are optimistic."
    if measures & {"run_fpr", "run_tpr"}:
        rates = sorted(
            {each.false_alarm_rate for each in _comparisons(results, lines, places).values() if each.false_alarm_rate is not None}
        )
        promise = f" for {' or '.join(f'{100 * rate:g}' for rate in rates)} % false alarms" if rates else ""
        yield f"FPR and TPR at the deployable threshold: from held-out normal images{promise}; no anomalous image took part."


def _hindsight(results: Results, lines: Sequence[Line], places: Sequence[Place]) -> Iterator[str]:
    for line in (line for line in lines if line.hindsight):
        named = fnmatch.filter(
            {part for place in places if (found := results.comparison(place, line.detector)) for part in found.parts}, line.part or ""
        )
        yield (
            f"{line.name}: the best of {len(named)} settings in every column, chosen by the labels of the test; no result that can be had "
            "without them."
        )


def _missing(results: Results, lines: Sequence[Line], places: Sequence[Place]) -> Iterator[str]:
    reasons: dict[str, dict[str, dict[str, None]]] = {}
    missing = [(line, place) for line in lines for place in places if results.cell(line, place) is None]
    for line, place in missing:
        where, reason = _reason(results, line, place)
        reasons.setdefault(reason, {}).setdefault(line.detector, {})[where] = None
    for reason, members in reasons.items():
        yield f"{MISSING} {'; '.join(f'{detector} on {_listed(where)}' for detector, where in members.items())}: {reason}."
    told = {(place.cohort, line.detector) for line, place in missing if results.comparison(place, line.detector) is None}
    partial: dict[str, dict[tuple[str, str], None]] = {}
    pairs = dict.fromkeys((line.detector, place.cohort) for line in lines for place in places)
    for detector, cohort in pairs:
        if (cohort, detector) in results.failed and (cohort, detector) not in told:
            partial.setdefault(_sentence(results.failed[cohort, detector]), {})[detector, cohort] = None
    for reason, named in partial.items():
        yield f"Some seeds are missing: {_named(named, set(pairs))}: {reason}."


def _reason(results: Results, line: Line, place: Place) -> tuple[str, str]:
    """On which cohort, against which set a cell is missing, and why."""
    where = place.cohort
    comparison = results.comparison(place, line.detector)
    if comparison is None:
        if results.began(place.cohort, line.detector):
            where += " against its own anomalous images" if place.against == INTRA else f" against {place.against}"
        return where, _sentence(results.failed.get((place.cohort, line.detector), "not done yet"))
    if place.measure in ("run_fpr", "run_tpr") and getattr(comparison, place.measure) is None:
        return where, f"the run has no threshold for {_LEVELS.get(comparison.level, comparison.level)}"
    if line.ranked(comparison) is None:
        return where, f"the scores have no component {line.part}"
    return where, "cannot be computed from these scores"


def _seeds(results: Results, lines: Sequence[Line], places: Sequence[Place]) -> Iterator[str]:
    found = _comparisons(results, lines, places)
    by_seeds: dict[tuple[int, ...], dict[tuple[str, str], None]] = {}
    for (detector, place), comparison in found.items():
        by_seeds.setdefault(comparison.seeds, {})[detector, place.cohort] = None
    pairs = {(detector, place.cohort) for detector, place in found}
    for seeds, members in sorted(by_seeds.items(), key=lambda item: -len(item[1])):
        number = f"{len(seeds)} seeds ({_listed(map(str, seeds))}), numbers are their means" if len(seeds) > 1 else "1 seed"
        yield f"{number}: {_named(members, pairs)}."
    widest = max(_between_seeds(results, lines, places), default=None)
    if widest:
        _, low, high, who = widest
        yield f"AUROC of single seeds: furthest apart for {who}, {decimal(low)} to {decimal(high)}; the CSV has lowest and highest of all."


def _named(members: Mapping[tuple[str, str], None], pairs: set[tuple[str, str]]) -> str:
    """Detectors, with their cohorts where not all of them are meant."""
    if set(members) == pairs:
        return "every detector"
    names = []
    for detector in dict.fromkeys(detector for detector, _ in members):
        cohorts = [cohort for each, cohort in members if each == detector]
        every = {cohort for each, cohort in pairs if each == detector} == set(cohorts)
        names.append(detector if every else f"{detector} on {_listed(cohorts)}")
    return "; ".join(names)


def _between_seeds(results: Results, lines: Sequence[Line], places: Sequence[Place]) -> Iterator[tuple[float, float, float, str]]:
    """(difference, lowest, highest, whose) for every AUROC of more than one seed."""
    for line in lines:
        for place in places:
            cell = results.cell(line, place)
            if isinstance(cell, Number) and cell.seeds:
                against = "" if place.against == INTRA else f" against {place.against}"
                yield cell.seeds[1] - cell.seeds[0], *cell.seeds, f"{line.name} on {place.cohort}{against}"


def _counts(results: Results, lines: Sequence[Line], places: Sequence[Place]) -> Iterator[str]:
    """A line per cohort; a line per group of detectors where they could not score the same images."""
    for cohort in dict.fromkeys(place.cohort for place in places):
        texts: dict[str, list[str]] = {}
        for detector in dict.fromkeys(line.detector for line in lines):
            sets = dict.fromkeys(place.against for place in places if place.cohort == cohort)
            found = [each for name in sets if (each := results.comparison(Place(cohort, name), detector))]
            if found:
                texts.setdefault(_counted(found), []).append(detector)
        for text, detectors in texts.items():
            yield f"{cohort}{', ' + _listed(detectors) if len(texts) > 1 else ''}: {text}."


def _counted(comparisons: Sequence[Comparison]) -> str:
    """885 normal images against 1,200 anomalous (1,900 patients), 500 of BIRD (1,385 patients)."""
    found: dict[str, list[str]] = {}
    for each in comparisons:
        what = "anomalous" if each.against == INTRA else f"of {each.against}"
        start = f"{each.normal:,} normal {_LEVELS.get(each.level, each.level)} against"
        found.setdefault(start, []).append(f"{each.anomalous:,} {what} ({each.patients:,} patients)")
    return "; ".join(f"{start} {_listed(sets)}" for start, sets in found.items())


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _comparisons(results: Results, lines: Sequence[Line], places: Sequence[Place]) -> dict[tuple[str, Place], Comparison]:
    found = {(line.detector, place): results.comparison(place, line.detector) for line in lines for place in places}
    return {key: comparison for key, comparison in found.items() if comparison}


def _sentence(text: str) -> str:
    """A reason on one line, without the full stop that the note adds."""
    return " ".join(text.split()).rstrip(".")
