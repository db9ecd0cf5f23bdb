"""Benchmark files: a grid of detectors, cohorts and seeds, resolved to one recipe for every run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medood.core.errors import RecipeError
from medood.recipe.benchmarks.file import Benchmark, Layout, OutlierSet, Published
from medood.recipe.benchmarks.turns import Turns, by_turns
from medood.recipe.changes import apply_changes
from medood.recipe.check import check, nearest
from medood.recipe.contrast import learner
from medood.recipe.literals import Places, place_of, read_literals
from medood.recipe.loading import check_source, find_file, known_keys, load_preparation, load_recipe, resolve, shipped
from medood.recipe.recipe import Recipe

INTRA = "intra"
"""Name of the comparison with the cohort's own anomalous images."""

OWN = "own"
"""Name of the file with the scores of a cohort's own test images."""


@dataclass(frozen=True)
class Job:
    """One run of the grid. `recipe` is resolved; `place` is its folder below the benchmark's."""

    cohort: str
    detector: str
    seed: int
    recipe: Recipe
    place: str

    @property
    def name(self) -> str:
        return f"{self.cohort}, {self.detector}, seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """A checked benchmark. `outliers` names the sets by cohort; `sets` holds each of them; `parts` the extra rows by detector;
    `hindsight` the names of the components among which a detector's best is shown; `turns` the cohorts that stand for one in which each
    class is normal once."""

    name: str
    summary: str
    tables: tuple[Layout, ...]
    cohorts: tuple[str, ...]
    detectors: tuple[str, ...]
    outliers: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, OutlierSet]
    parts: Mapping[str, Mapping[str, str]]
    hindsight: Mapping[str, str]
    published: Published | None
    jobs: tuple[Job, ...]
    turns: Turns


def load_grid(name: str | Path, data: Path | None = None, changes: Sequence[str] = ()) -> Grid:
    """Read and check a benchmark by file name, or by its name among those that come with medood.

    Relative folders of sources are taken below `data`; `changes` ("key.key=value" of a recipe) hold for every run. Raises RecipeError with
    every mistake found.
    """
    path = find_file(name, "benchmarks")
    values, places = read_literals(path)
    problems: list[str] = []
    file = check(Benchmark, values, places, str(path), problems)
    if file is None:
        raise RecipeError(problems)
    cohorts, turns = by_turns(file.cohorts, places, str(path), problems)
    file = file.model_copy(update={"cohorts": cohorts})
    grid = _resolve(file, turns, _Blocks(places, path, data, changes), problems)
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return grid


def check_file(name: str | Path, changes: Sequence[str] = ()) -> tuple[Path, list[Recipe]]:
    """Check a recipe, a benchmark (it has `cohorts`) or a transforms file (it has no `detector`); its path and the recipes in it.

    Raises RecipeError with every mistake.
    """
    path = Path(name)
    if str(name) in {place.stem for place in shipped("benchmarks")}:
        path = find_file(name, "benchmarks")
    if path.suffix in (".yaml", ".yml") and path.is_file():
        keys = read_literals(path)[0].keys()
        if "cohorts" in keys:
            return path, [job.recipe for job in load_grid(path, changes=changes).jobs]
        if keys & {"steps", "plane", "channels", "size", "fit"} and not keys & {"source", "detector", "training"}:
            load_preparation(path, changes)
            return path, []
    return find_file(name, "recipes"), [load_recipe(name, changes)]


def slug(name: str) -> str:
    """A name as part of a path: small letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


@dataclass(frozen=True)
class _Blocks:
    """What is needed to turn blocks of the file into a recipe, or into a sentence with the right line."""

    places: Places
    path: Path
    data: Path | None
    changes: Sequence[str]

    def line(self, *key: str) -> str:
        return f"{place_of(key, self.places, str(self.path))}: {'.'.join(key)}"

    def recipe(self, blocks: Mapping[tuple[str, ...], Mapping[str, Any]], seed: int) -> Recipe:
        """The recipe that the blocks make together, later ones over earlier ones. Raises RecipeError."""
        values: dict[str, Any] = {}
        places: Places = {}
        for place, block in blocks.items():
            values = _over(values, block)
            places |= {key[len(place) :]: at for key, at in self.places.items() if key[: len(place)] == place}
        problems = apply_changes(values, places, self.changes, known_keys)
        values["seed"] = seed
        values["source"] = below(values.get("source"), self.data)
        # a cohort may name a contrast for all detectors; it is for those that learn from one
        values["contrast"] = _both_below(values.get("contrast"), self.data) if learner(values.get("detector")) else None
        return resolve(values, places, str(self.path), problems)


def below(source: Any, data: Path | None) -> Any:
    """A source with its relative root below the folder `data`."""
    if data is None or not isinstance(source, Mapping) or not isinstance(source.get("root"), str):
        return source
    return {**source, "root": str(data / source["root"])}


def _both_below(contrast: Any, data: Path | None) -> Any:
    """A contrast with the relative roots of its sources below the folder `data`."""
    if not isinstance(contrast, Mapping) or "mixed_with" not in contrast:
        return below(contrast, data)
    return {**below(contrast, data), "mixed_with": below(contrast["mixed_with"], data)}


def _resolve(file: Benchmark, turns: Turns, blocks: _Blocks, problems: list[str]) -> Grid:
    _check_names(file, blocks, problems)
    cohorts = {name: {k: v for k, v in block.items() if k != "outliers"} for name, block in file.cohorts.items()}
    own = {"parts", "seeds", "hindsight"}
    detectors = {name: {k: v for k, v in block.items() if k not in own} for name, block in file.detectors.items()}
    outliers = {name: _outliers(name, file, blocks, problems) for name in cohorts}
    parts = {name: _parts(name, file, blocks, problems) for name in detectors}
    hindsight = {name: _hindsight(name, file, blocks, problems) for name in detectors if "hindsight" in file.detectors[name]}
    seeds = {name: _seeds(name, file, blocks, problems) for name in detectors}
    jobs = []
    for cohort, images in cohorts.items():
        for detector, method in detectors.items():
            stack = {("common",): file.common, ("detectors", detector): method, ("cohorts", cohort): images}
            for seed in seeds[detector]:
                try:
                    recipe = blocks.recipe(stack, seed)
                except RecipeError as error:
                    problems += error.problems
                    break
                jobs.append(Job(cohort, detector, seed, recipe, f"{slug(cohort)}/{slug(detector)}/seed-{seed}"))
    sources: dict[str, tuple[tuple[str, ...], Any]] = {name: (("sets", name, "source"), entry.source) for name, entry in file.sets.items()}
    sources |= {name: (("cohorts", name, "source"), block.get("source")) for name, block in cohorts.items()}
    sets = {}
    for name, (key, source) in sources.items():
        checked = check_source(source, blocks.places, str(blocks.path), key, problems)
        sets[name] = file.sets.get(name, OutlierSet(source={})).model_copy(update={"source": below(checked, blocks.data)})
    return Grid(
        name=blocks.path.stem,
        summary=file.summary,
        tables=tuple(file.tables),
        cohorts=tuple(cohorts),
        detectors=tuple(detectors),
        outliers=outliers,
        sets={name: sets[name] for names in outliers.values() for name in names if name in sets},
        parts=parts,
        hindsight=hindsight,
        published=file.published,
        jobs=tuple(jobs),
        turns=turns,
    )


def _check_names(file: Benchmark, blocks: _Blocks, problems: list[str]) -> None:
    for sections in (("cohorts", "sets"), ("detectors",)):  # a cohort can be a set of outliers too
        names: dict[str, str] = {}
        for section in sections:
            for name in getattr(file, section):
                if slug(name) in names:
                    problems.append(
                        f"{blocks.line(section, name)}: like {names[slug(name)]!r}: both would use the name {slug(name)} for files."
                    )
                if slug(name) in (INTRA, OWN):
                    problems.append(f"{blocks.line(section, name)}: this name has a meaning of its own; choose another.")
                names[slug(name)] = name
    for section in ("cohorts", "detectors"):
        if not getattr(file, section):
            problems.append(f"{blocks.line(section)}: is empty, so there is nothing to run.")
    if not _different(file.seeds):
        problems.append(f"{blocks.line('seeds')}: expected different whole numbers, found {file.seeds!r}.")
    if any(change.partition("=")[0].strip() == "seed" for change in blocks.changes):
        problems.append("--set seed: a benchmark has `seeds`, in its file.")
    for name in set(file.published.beside if file.published else ()) - set(file.cohorts):
        problems.append(f"{blocks.line('published', 'beside', name)}: is no cohort of this file; put it under `apart`.")


def _outliers(cohort: str, file: Benchmark, blocks: _Blocks, problems: list[str]) -> tuple[str, ...]:
    given = file.cohorts[cohort].get("outliers", [])
    known = [*file.sets, *(name for name in file.cohorts if name != cohort)]
    if not isinstance(given, list):
        problems.append(f"{blocks.line('cohorts', cohort, 'outliers')}: expected a list of names, found {given!r}.")
        return ()
    for name in given:
        if name not in known:
            near = nearest(str(name), known) or "."
            problems.append(
                f"{blocks.line('cohorts', cohort, 'outliers')}: {name!r} is neither a set nor another cohort of this file{near}"
            )
    return tuple(map(str, given))


def _parts(detector: str, file: Benchmark, blocks: _Blocks, problems: list[str]) -> dict[str, str]:
    given = file.detectors[detector].get("parts", {})
    if isinstance(given, dict) and all(isinstance(part, str) for part in given.values()):
        return {str(name): part for name, part in given.items()}
    problems.append(f"{blocks.line('detectors', detector, 'parts')}: expected names of rows and of components, found {given!r}.")
    return {}


def _hindsight(detector: str, file: Benchmark, blocks: _Blocks, problems: list[str]) -> str:
    given = file.detectors[detector]["hindsight"]
    if isinstance(given, str) and given:
        return given
    problems.append(f"{blocks.line('detectors', detector, 'hindsight')}: expected a pattern of components, such as nu_*, found {given!r}.")
    return ""


def _seeds(detector: str, file: Benchmark, blocks: _Blocks, problems: list[str]) -> list[int]:
    given = file.detectors[detector].get("seeds", file.seeds)
    if given is file.seeds or _different(given):
        return given
    problems.append(f"{blocks.line('detectors', detector, 'seeds')}: expected a list of different whole numbers, found {given!r}.")
    return []


def _different(seeds: Any) -> bool:
    return (
        isinstance(seeds, list) and bool(seeds) and all(type(seed) is int and seed >= 0 for seed in seeds) and len(set(seeds)) == len(seeds)
    )


def _over(values: Mapping[str, Any], block: Mapping[str, Any], *, inside: bool = False) -> dict[str, Any]:
    """`block` over `values`, key by key; a source, detector or transforms file of another name replaces the whole of the former.

    `inside` of a detector, a key `transforms` is a parameter of its own.
    """
    merged = dict(values)
    for key, value in block.items():
        before: Any = merged.get(key)
        if key == "transforms" and not inside:  # a bare name is the mapping that holds this name
            before, value = (({"name": each} if isinstance(each, str) else each) for each in (before, value))
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        same = both and ("name" not in before or before["name"] == value.get("name", before["name"]))
        merged[key] = _over(before, value, inside=True) if same else value
    return merged
