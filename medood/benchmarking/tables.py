"""The tables of a benchmark, laid out as those of the papers that it repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medood.benchmarking.class_table import class_tables
from medood.benchmarking.notes import notes
from medood.benchmarking.published import Figures, read_published
from medood.benchmarking.rows import NOTHING, Line, Measure, Place, Results
from medood.export.table_model import Better, Block, Number, Row, Table
from medood.recipe.benchmarks.comparison import Comparison
from medood.recipe.benchmarks.grid import INTRA
from medood.recipe.benchmarks.turns import Turns

_APART = "Published, on other data, not comparable"
_HIGH: Better = "high"
_GATED_NOTE = "With the gate: an image that the run refuses as unlike its training counts as more anomalous than all that it judges."


def tables(
    comparisons: Sequence[Comparison],
    *,
    layouts: Sequence[str],
    cohorts: Sequence[str],
    detectors: Sequence[str],
    outliers: Mapping[str, Sequence[str]],
    parts: Mapping[str, Mapping[str, str]],
    published: Mapping[str, Any] | None = None,
    failed: Mapping[tuple[str, str], str] | None = None,
    hindsight: Mapping[str, str] | None = None,
    turns: Turns | None = None,
) -> list[Table]:
    """The tables of each layout, in the order of `layouts`; comparisons may be missing.

    intra       rows detectors; for each cohort FPR, TPR at the oracle threshold and AUC (CVAD, Table II). A second table has the intervals,
                and the deployable threshold beside the oracle
    inter       blocks cohorts, rows detectors, each without and with the gate of its run, columns outlier sets (CVAD, Table III); none
                without outlier sets
    components  blocks cohorts, rows the parts and the whole of detectors that name parts (CVAD, Table IV); none without parts
    auroc       rows detectors, columns cohorts (Patch-GAN, Table 1); then parts and wholes (Table 2)
    classes     rows the classes of cohorts in which each is normal once, and their mean, columns detectors (GeoTrans, Table 1)

    outliers   names of outlier sets by cohort
    parts      {name of a row: component of the score} by detector
    published  as in a benchmark file; see `read_published`
    hindsight  by detector: a pattern of the components whose best is one more row, by the labels of the test
    failed     why there is no result, or not of every seed, by (cohort, detector)
    turns      names of the cohorts that stand for one in which each class is normal once, by its name

    Raises MedoodError when published figures do not fit; with no comparisons, that is all that is checked.
    """
    part_names = [name for named in parts.values() for name in named]
    publication = read_published(published, layouts, outliers, part_names)
    benchmark = _Benchmark(
        Results(comparisons, detectors, outliers, publication, failed or {}),
        tuple(cohorts),
        tuple(line for name in detectors for line in _lines(name, (hindsight or {}).get(name))),
        tuple(line for name in detectors if parts.get(name) for line in _part_lines(name, parts[name])),
        turns or {},
    )
    makers = {"intra": _intra, "inter": _inter, "components": _components, "auroc": _auroc, "classes": _classes}
    return [table for layout in layouts for table in makers[layout](benchmark)]


def _lines(detector: str, hindsight: str | None) -> list[Line]:
    best = [Line(f"{detector}, hindsight", detector, hindsight, hindsight=True)] if hindsight else []
    return [Line(detector, detector), *best]


def _part_lines(detector: str, parts: Mapping[str, str]) -> list[Line]:
    return [*(Line(name, detector, part) for name, part in parts.items()), Line(detector, detector)]


@dataclass(frozen=True)
class _Benchmark:
    """`lines` are the detectors; `part_lines` the parts and then the whole of each detector that names parts."""

    results: Results
    cohorts: tuple[str, ...]
    lines: tuple[Line, ...]
    part_lines: tuple[Line, ...]
    turns: Turns

    def rows(self, lines: Sequence[Line], places: Sequence[Place]) -> tuple[Row, ...]:
        """Ours with the published ones below; below all detectors also what was published of methods that are not in the benchmark."""
        shown = [line.name for line in (*self.lines, *self.part_lines)]
        whole = all(line.part is None or line.hindsight for line in lines)
        others = self.results.others_published(shown, places) if whole else []
        return (*self.results.rows(lines, places), *others)

    def apart(self, *, parts: bool = False) -> dict[str, dict[str, Figures]]:
        """What was published on other data, of parts and their wholes or of whole detectors."""
        wholes = {line.name for line in self.part_lines if line.part is None}
        names = {line.name for line in self.part_lines if line.part is not None}
        found = {
            cohort: {row: figures for row, figures in rows.items() if row in (names | wholes if parts else rows.keys() - names)}
            for cohort, rows in self.results.publication.apart.items()
        }
        return {cohort: rows for cohort, rows in found.items() if (rows.keys() & names if parts else rows)}


def _intra(benchmark: _Benchmark) -> Iterator[Table]:
    cohorts = benchmark.cohorts
    places = [Place(cohort, INTRA, measure) for cohort in cohorts for measure in ("oracle_fpr", "oracle_tpr", "auroc")]
    blocks = _with_trivial(benchmark, benchmark.lines, places)
    yield Table(
        name="intra",
        title="Normal images of each cohort against its own anomalous ones, at the oracle threshold",
        groups=tuple((cohort, 3) for cohort in cohorts),
        columns=("FPR", "TPR", "AUC") * len(cohorts),
        best=("low", "high", "high") * len(cohorts),
        blocks=blocks,
        notes=notes(benchmark.results, benchmark.lines, places, blocks, intervals=False),
        intervals=False,
    )
    yield _intra_thresholds(benchmark)
    apart = benchmark.apart()
    if apart:
        measured = {cohort: {row: (each.fpr, each.tpr, each.auroc) for row, each in rows.items()} for cohort, rows in apart.items()}
        yield _published_table("intra_published", ("FPR", "TPR", "AUC"), measured, benchmark.results.publication.title)


def _intra_thresholds(benchmark: _Benchmark) -> Table:
    """The intervals of the intra table, and the rates at the deployable threshold beside the oracle's."""
    measures: tuple[Measure, ...] = ("auroc", "oracle_fpr", "oracle_tpr", "run_fpr", "run_tpr")
    places = {cohort: [Place(cohort, INTRA, measure) for measure in measures] for cohort in benchmark.cohorts}
    blocks = tuple(_cohort_block(benchmark, benchmark.lines, cohort, at, len(measures)) for cohort, at in places.items())
    return Table(
        name="intra_thresholds",
        title="Normal images of each cohort against its own anomalous ones: the oracle threshold and the deployable one",
        groups=(("", 1), ("Oracle threshold", 2), ("Deployable threshold", 2)),
        columns=("AUC", "FPR", "TPR", "FPR", "TPR"),
        best=("high", "low", "high", None, None),  # a deployable FPR is good when it keeps its promise, not when it is low
        blocks=blocks,
        notes=notes(benchmark.results, benchmark.lines, [each for at in places.values() for each in at], blocks, spreads=False),
        spreads=False,
    )


def _inter(benchmark: _Benchmark) -> Iterator[Table]:
    sets = {cohort: tuple(benchmark.results.outliers.get(cohort, ())) for cohort in benchmark.cohorts}
    if any(sets.values()):
        places = {cohort: [Place(cohort, name) for name in names] for cohort, names in sets.items()}
        apart = {cohort: {row: each.against for row, each in rows.items()} for cohort, rows in benchmark.apart().items()}
        title = "AUROC of each cohort's normal images against outlier sets"
        yield _by_cohort(benchmark, "inter", title, benchmark.lines, places, apart, gated=True)


def _components(benchmark: _Benchmark) -> Iterator[Table]:
    if benchmark.part_lines:
        outliers = benchmark.results.outliers
        places = {cohort: [Place(cohort, name) for name in (INTRA, *outliers.get(cohort, ()))] for cohort in benchmark.cohorts}
        published = benchmark.apart(parts=True)
        apart = {cohort: {row: (each.auroc, *each.against) for row, each in rows.items()} for cohort, rows in published.items()}
        yield _by_cohort(benchmark, "components", "AUROC of the components of a score", benchmark.part_lines, places, apart)


def _auroc(benchmark: _Benchmark) -> Iterator[Table]:
    title = "AUROC of each cohort's normal images against its own anomalous ones"
    yield from _auroc_tables(benchmark, "auroc", title, benchmark.lines, benchmark.apart())
    if benchmark.part_lines:
        yield from _auroc_tables(benchmark, "auroc_parts", f"{title}: components", benchmark.part_lines, benchmark.apart(parts=True))


def _classes(benchmark: _Benchmark) -> Iterator[Table]:
    rest = [line for line in benchmark.part_lines if line.part is not None]
    yield from class_tables(benchmark.results, [*benchmark.lines, *rest], benchmark.turns)


def _auroc_tables(
    benchmark: _Benchmark, name: str, title: str, lines: Sequence[Line], apart: Mapping[str, Mapping[str, Figures]]
) -> Iterator[Table]:
    places = [Place(cohort, INTRA) for cohort in benchmark.cohorts]
    blocks = _with_trivial(benchmark, lines, places)
    count = len(places)
    below = notes(benchmark.results, lines, places, blocks)
    yield Table(name, title, (("AUROC", count),), benchmark.cohorts, (_HIGH,) * count, blocks, below)
    if apart:
        measured = {cohort: {row: (each.auroc,) for row, each in rows.items()} for cohort, rows in apart.items()}
        yield _published_table(f"{name}_published", ("AUROC",), measured, benchmark.results.publication.title)


def _with_trivial(benchmark: _Benchmark, lines: Sequence[Line], places: Sequence[Place]) -> tuple[Block, ...]:
    trivial = tuple(benchmark.results.trivial_rows(places))
    return (Block("", benchmark.rows(lines, places)), *((Block("Trivial features", trivial),) if trivial else ()))


def _cohort_block(benchmark: _Benchmark, lines: Sequence[Line], title: str, places: Sequence[Place], width: int) -> Block:
    return Block(title, _filled((*benchmark.rows(lines, places), *benchmark.results.trivial_rows(places)), width))


def _by_cohort(
    benchmark: _Benchmark,
    name: str,
    title: str,
    lines: Sequence[Line],
    places: Mapping[str, Sequence[Place]],
    apart: Mapping[str, Mapping[str, Sequence[Number | None]]],
    *,
    gated: bool = False,
) -> Table:
    """A block per cohort, a column per set of anomalous images.

    apart  published numbers by their cohort and row
    gated  whether each detector has a second row, behind the gate of its run
    """
    apart = {cohort: {row: numbers for row, numbers in rows.items() if any(numbers)} for cohort, rows in apart.items()}
    apart = {cohort: rows for cohort, rows in apart.items() if rows}
    published = [numbers for rows in apart.values() for numbers in rows.values()]
    width = max(map(len, [*places.values(), *published]))
    sets = {cohort: tuple(place.against for place in at if place.against != INTRA) for cohort, at in places.items()}
    shared = next(iter(sets.values())) if len(set(sets.values())) == 1 and not apart else ()
    columns = _class_names(width, intra=any(place.against == INTRA for at in places.values() for place in at), shared=shared)
    shown = tuple(each for line in lines for each in (line, *_gated(line))) if gated else lines
    blocks = []
    for cohort, at in places.items():
        named = "" if shared else ", ".join(f"InterClass{number} {each}" for number, each in enumerate(sets[cohort], 1))
        blocks.append(_cohort_block(benchmark, shown, f"{cohort} ({named})" if named else cohort, at, width))
    for cohort, rows in apart.items():
        found = tuple(Row(row, tuple(number or NOTHING for number in numbers), "published") for row, numbers in rows.items())
        blocks.append(Block(f"{_APART}: {cohort}", _filled(found, width)))
    below = notes(benchmark.results, lines, [place for at in places.values() for place in at], blocks)
    below = (*below, _GATED_NOTE) if gated else below
    return Table(name, title, (("AUROC", width),), columns, (_HIGH,) * width, tuple(blocks), below)


def _gated(line: Line) -> list[Line]:
    return [] if line.hindsight else [Line(f"{line.name}, with the gate", line.detector, gated=True)]


def _class_names(width: int, *, intra: bool, shared: Sequence[str]) -> tuple[str, ...]:
    """The papers' names of the columns, with the names of the outlier sets where all cohorts share them."""
    inter = [f"InterClass{number}" for number in range(1, width + 1 - intra)]
    if shared:
        inter = [f"{name} ({each})" for name, each in zip(inter, shared, strict=True)]
    return (*(("IntraClass",) if intra else ()), *inter)


def _published_table(
    name: str, measures: Sequence[str], figures: Mapping[str, Mapping[str, Sequence[Number | None]]], publication: str
) -> Table:
    """Published figures on other data, which have cohorts of their own as columns. `figures`: by cohort and row, one per measure."""
    single = len(measures) == 1
    names = dict.fromkeys(row for rows in figures.values() for row in rows)
    nothing = (None,) * len(measures)
    rows = [Row(row, tuple(cell or NOTHING for at in figures.values() for cell in at.get(row, nothing)), "published") for row in names]
    return Table(
        name=name,
        title=f"{_APART} with ours: {publication}",
        groups=((measures[0], len(figures)),) if single else tuple((cohort, len(measures)) for cohort in figures),
        columns=tuple(figures) if single else tuple(measures) * len(figures),
        best=(None,) * len(measures) * len(figures),
        blocks=(Block("", tuple(rows)),),
        notes=("As published, with the ± of the publication; measured on other images than those used here.",),
    )


def _filled(rows: Sequence[Row], width: int) -> tuple[Row, ...]:
    """The rows with empty cells at the end, up to `width`."""
    return tuple(replace(row, cells=(*row.cells, *[NOTHING] * (width - len(row.cells)))) for row in rows)
