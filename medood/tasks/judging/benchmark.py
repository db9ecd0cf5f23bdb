"""A grid of detectors, cohorts and seeds to tables: train or reuse runs, score, compare. Stop it at any time; the same command goes on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medood.benchmarking.display import Display
from medood.benchmarking.images import cohort_source, look_at_cohort, look_at_outliers, write_cohort_labels
from medood.benchmarking.job import Order, carry_out, is_scored, labels_file, made_otherwise, scores_file
from medood.benchmarking.on_cluster import carry_out_on
from medood.benchmarking.results import compare, false_alarm_rate, read_rows
from medood.benchmarking.tables import tables
from medood.benchmarking.workers import Event, work_through
from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.files.atomic import write_json, write_text
from medood.core.files.lock import alone
from medood.engines.cluster import Cluster
from medood.engines.engine import LOCAL, Engine
from medood.engines.opened import workers_of
from medood.export.tables import Table, as_csv, as_latex, as_markdown, as_text
from medood.recipe.benchmarks.comparison import Comparison, Ranked
from medood.recipe.benchmarks.grid import INTRA, Grid, Job
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe

MOST_WORKERS = 4
"""Processes on a machine without GPUs, unless the user says otherwise: each holds its own copy of the libraries."""


_FUNCTION = partial(carry_out, train=partial(train_recipe, keep_checkpoint=False), score=score_folder)


@dataclass(frozen=True)
class Outcome:
    """The tables that could be made, where they are, and why runs failed, by the name of the run."""

    tables: Sequence[Table]
    folder: Path
    failed: Mapping[str, str]


def benchmark(
    grid: Grid,
    out: Path,
    *,
    workers: int | None = None,
    device: str = "auto",
    retrain: bool = False,
    only_tables: bool = False,
    cache: Path | None = None,
    engine: Engine = LOCAL,
) -> Outcome:
    """Carry out what is missing of `grid` below the folder `out`, then write results.json and the tables.

    ```
    out/COHORT/DETECTOR/seed-0/     a run folder as `medood train` makes it; log.txt; scores/own.csv, scores/OUTLIERS.csv
    out/COHORT/labels.csv           labels of the cohort
    out/tables/BENCHMARK/           results.json with every number; each table as .txt, .md, .tex and .csv
    ```
    `engine` is who does it: processes of this command, `workers` of them, or the workers of a cluster, which see the same files.
    A failed run does not stop the others. Benchmarks that share an `out` share their runs. Raises MedoodError when images are missing, or
    when runs are there that another recipe or other images have made and `retrain` is not given.
    """
    _tables(grid, (), {})  # a published row of the wrong length is known before hours of training
    if only_tables and not out.is_dir():
        raise MedoodError(f"There is no folder {out} with runs of a benchmark: run it without --only-tables first, or name its --out.")
    with alone(out / ".benchmark.lock", out):
        orders = _orders(grid, out, _devices(device), cache)
        changed = [order for order in orders if made_otherwise(order)]
        if changed and not (retrain or only_tables):
            raise MedoodError(_refusal(out, changed))
        if only_tables:
            return _report(grid, [order for order in orders if order not in changed], out, {})
        renewed = [replace(order, retrain=order in changed) for order in orders]
        with workers_of(engine, device) as cluster:
            failed = _carry_out_on(cluster, renewed, device) if cluster else _carry_out(renewed, *_crew(orders[0].devices, workers))
        return _report(grid, orders, out, failed)


def _orders(grid: Grid, out: Path, devices: tuple[str, ...], cache: Path | None) -> list[Order]:
    """All jobs in the order in which to do them, with their images, and the labels of every cohort."""
    console = Console()
    with console.step("Looking for the images"):
        sets = {name: look_at_outliers(outliers) for name, outliers in grid.sets.items()}
        cohorts = {}
        for name in grid.cohorts:
            recipes = [job.recipe for job in grid.jobs if job.cohort == name]
            source = cohort_source(recipes[0])
            index = source.index()
            for recipe in recipes:
                key = name, recipe.split.model_dump_json()
                if key not in cohorts:
                    cohorts[key] = look_at_cohort(index, recipe)
            for problem in write_cohort_labels(source, index, labels_file(out, name)):
                console.warn(f"{name}: no labels of {problem.path}: {problem.message}")
    return [
        Order(
            job,
            out,
            cohorts[job.cohort, job.recipe.split.model_dump_json()],
            {name: sets[name] for name in grid.outliers[job.cohort]},
            devices,
            False,
            cache,
        )
        for job in _seed_by_seed(grid.jobs)
    ]


def _seed_by_seed(jobs: Sequence[Job]) -> list[Job]:
    """Every detector's first seed, then every second one, so that early tables have every row."""
    turns: dict[tuple[str, str], int] = {}
    order = []
    for job in jobs:
        turn = turns[job.cohort, job.detector] = turns.get((job.cohort, job.detector), 0) + 1
        order.append(turn)
    return [job for _, job in sorted(zip(order, jobs, strict=True), key=lambda pair: pair[0])]


def _carry_out(orders: Sequence[Order], workers: int, threads: int) -> dict[str, str]:
    """Reasons of the runs that failed, by their name."""
    with Display(orders, workers) as display, closing(work_through(orders, _FUNCTION, workers, threads)) as events:
        return _failed(orders, events, display)


def _carry_out_on(cluster: Cluster, orders: Sequence[Order], device: str) -> dict[str, str]:
    """The same, by the workers of a cluster."""
    orders = [replace(order, out=order.out.resolve(), cache=order.cache and order.cache.resolve()) for order in orders]
    with Display(orders, max(1, len(cluster.members()))) as display:
        return _failed(orders, carry_out_on(cluster, orders, _FUNCTION, device, display.show, Console().warn), display)


def _failed(orders: Sequence[Order], events: Iterable[Event], display: Display) -> dict[str, str]:
    failed = {}
    for event in events:
        display.show(event)
        if event.kind == "failed":
            failed[orders[event.number].job.name] = event.value
    return failed


def _report(grid: Grid, orders: Sequence[Order], out: Path, failed: Mapping[str, str]) -> Outcome:
    comparisons, missing = _comparisons(grid, orders, failed)
    folder = out / "tables" / grid.name
    write_json(folder / "results.json", {"comparisons": [each.to_dict() for each in comparisons], "failed": dict(failed)})
    made = _tables(grid, comparisons, missing)
    for table in made:
        for ending, render in ((".txt", as_text), (".md", as_markdown), (".tex", as_latex), (".csv", as_csv)):
            write_text(folder / f"{table.name}{ending}", render(table))
    return Outcome(made, folder, failed)


def _tables(grid: Grid, comparisons: Sequence[Comparison], missing: Mapping[tuple[str, str], str]) -> list[Table]:
    return tables(
        comparisons,
        layouts=grid.tables,
        cohorts=grid.cohorts,
        detectors=grid.detectors,
        outliers=grid.outliers,
        parts=grid.parts,
        hindsight=grid.hindsight,
        published=grid.published.model_dump() if grid.published else {},
        failed=missing,
        turns=grid.turns,
    )


def _comparisons(grid: Grid, orders: Sequence[Order], failed: Mapping[str, str]) -> tuple[list[Comparison], dict[tuple[str, str], str]]:
    """What can be compared, from the seeds that are finished, and why the rest cannot."""
    found, missing = [], {}
    known: dict[bytes, Ranked] = {}
    pairs = [(cohort, detector) for cohort in grid.cohorts for detector in grid.detectors]
    for cohort, detector in Console().track(pairs, "Comparing", len(pairs)):
        seeds = [job.name for job in grid.jobs if (job.cohort, job.detector) == (cohort, detector)]
        mine = [order for order in orders if (order.job.cohort, order.job.detector) == (cohort, detector)]
        own = () if set(grid.tables) == {"inter"} else (INTRA,)  # whose test images need not hold anomalous ones
        for name in (*own, *grid.outliers[cohort]):
            finished = [order for order in mine if is_scored(order, INTRA) and is_scored(order, name)]
            if len(finished) < len(seeds):
                broken = any(name in failed for name in seeds)
                missing[cohort, detector] = "it failed, and its log.txt says why" if broken else "not finished yet"
            if finished:
                try:
                    found.append(_compare(finished, name, known))
                except MedoodError as error:
                    missing[cohort, detector] = str(error)
    return found, missing


def _compare(orders: Sequence[Order], against: str, known: dict[bytes, Ranked]) -> Comparison:
    """The seeds of one detector on one cohort; `known` as for `compare`."""
    job = orders[0].job
    own = [scores_file(order.folder, INTRA) for order in orders]
    others = None if against == INTRA else [scores_file(order.folder, against) for order in orders]
    rows = read_rows(own, others, labels_file(orders[0].out, job.cohort))
    seeds = [order.job.seed for order in orders]
    return compare(rows, cohort=job.cohort, detector=job.detector, against=against, seeds=seeds, rate=false_alarm_rate(own[0]), known=known)


def _refusal(out: Path, changed: Sequence[Order]) -> str:
    shown = ", ".join(order.job.place for order in changed[:3]) + (" ..." if len(changed) > 3 else "")
    return (
        f"{out} holds {len(changed)} runs that were made by another recipe, or from other images, than this benchmark's ({shown}). "
        "Train them anew with --retrain, or choose another --out."
    )


def _devices(device: str) -> tuple[str, ...]:
    """All GPUs for "auto", else the one device that is asked for. Raises MedoodError if it is not there."""
    from medood.core.device import pick_device

    chosen = str(pick_device(device))
    if device != "auto" or chosen != "cuda":
        return (chosen,)
    import torch

    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def _crew(devices: tuple[str, ...], workers: int | None) -> tuple[int, int]:
    """How many processes, and how many threads each may use: as many as OMP_NUM_THREADS says, otherwise an equal share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = _asked_threads()
    count = workers or (len(devices) if devices[0] != "cpu" else max(1, min(cores // (threads or 1), MOST_WORKERS)))
    return count, threads or max(1, cores // count)


def _asked_threads() -> int | None:
    """OMP_NUM_THREADS, where the user has set it to a number; of a list, which is by depth of nesting, the first."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None
