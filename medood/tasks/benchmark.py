"""A grid of detectors, cohorts and seeds to tables: train or reuse runs, score, compare. Stop it at any time; the same command goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medood.core.comparison import Comparison
from medood.core.errors import MedoodError
from medood.core.files import write_json, write_text
from medood.core.grid import INTRA, Grid, Job
from medood.core.recipe import Recipe
from medood.core.run import is_run
from medood.export.tables import Table, as_csv, as_latex, as_markdown, as_text
from medood.tasks.benchmark_display import Display
from medood.tasks.benchmark_job import Order, carry_out, labels_file, scores_file
from medood.tasks.benchmark_results import compare, read_rows
from medood.tasks.benchmark_tables import tables
from medood.tasks.console import Console
from medood.tasks.workers import work_through

MOST_WORKERS = 4
"""Processes on a machine without GPUs, unless the user says otherwise: each holds its own copy of the libraries."""


@dataclass(frozen=True)
class Outcome:
    """The tables that could be made, and why runs failed, by the name of the run."""

    tables: Sequence[Table]
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
) -> Outcome:
    """Carry out what is missing of `grid` below the folder `out`, then write results.json and the tables.

    ```
    out/COHORT/DETECTOR/seed-0/     a run folder as `medood train` makes it; log.txt; scores/own.csv, scores/OUTLIERS.csv
    out/COHORT/labels.csv           labels of the cohort
    out/results.json                every number
    out/tables/*.txt, .md, .tex, .csv
    ```
    A failed run does not stop the others. Raises MedoodError when runs are there that another recipe has made and `retrain` is not given.
    """
    devices = _devices(device)
    changed = [job for job in grid.jobs if _made_otherwise(out / job.place, job.recipe)]
    if changed and not (retrain or only_tables):
        raise MedoodError(_refusal(out, changed))
    _tables(grid, (), {})  # a published row of the wrong length is known before hours of training
    failed: dict[str, str] = {}
    with _alone(out):
        if not only_tables:
            orders = [
                Order(job, out, {name: grid.sets[name] for name in grid.outliers[job.cohort]}, devices, job in changed, cache)
                for job in _seed_by_seed(grid.jobs)
            ]
            failed = _carry_out(orders, *_crew(devices, workers))
        return _report(grid, out, failed)


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
    failed = {}
    with Display(orders, workers) as display:
        for event in work_through(orders, carry_out, workers, threads):
            display.show(event)
            if event.kind == "failed":
                failed[orders[event.number].job.name] = event.value
    return failed


def _report(grid: Grid, out: Path, failed: Mapping[str, str]) -> Outcome:
    comparisons, missing = _comparisons(grid, out, failed)
    write_json(out / "results.json", {"comparisons": [each.to_dict() for each in comparisons], "failed": dict(failed)})
    made = _tables(grid, comparisons, missing)
    for table in made:
        for ending, render in ((".txt", as_text), (".md", as_markdown), (".tex", as_latex), (".csv", as_csv)):
            write_text(out / "tables" / f"{table.name}{ending}", render(table))
    return Outcome(made, failed)


def _tables(grid: Grid, comparisons: Sequence[Comparison], missing: Mapping[tuple[str, str], str]) -> list[Table]:
    return tables(
        comparisons,
        layouts=grid.tables,
        cohorts=grid.cohorts,
        detectors=grid.detectors,
        outliers=grid.outliers,
        parts=grid.parts,
        published=grid.published.model_dump() if grid.published else {},
        failed=missing,
    )


def _comparisons(grid: Grid, out: Path, failed: Mapping[str, str]) -> tuple[list[Comparison], dict[tuple[str, str], str]]:
    """What can be compared, from the seeds that are finished, and why the rest cannot."""
    found, missing = [], {}
    console = Console()
    pairs = [(cohort, detector) for cohort in grid.cohorts for detector in grid.detectors]
    for cohort, detector in console.track(pairs, "Comparing", len(pairs)):
        jobs = [job for job in grid.jobs if (job.cohort, job.detector) == (cohort, detector)]
        names = (INTRA, *grid.outliers[cohort])
        finished = [job for job in jobs if all(_scored(out / job.place, name) for name in names)]
        if len(finished) < len(jobs):
            missing[cohort, detector] = next((failed[job.name] for job in jobs if job.name in failed), "not finished yet")
        if not finished:
            continue
        for name in names:
            try:
                found.append(_compare(out, finished, name))
            except MedoodError as error:
                missing[cohort, detector] = f"{name}: {error}"
    return found, missing


def _compare(out: Path, jobs: Sequence[Job], against: str) -> Comparison:
    folders = [out / job.place for job in jobs]
    own = [scores_file(folder, INTRA) for folder in folders]
    others = None if against == INTRA else [scores_file(folder, against) for folder in folders]
    rate = json.loads(own[0].with_suffix(".json").read_text(encoding="utf-8"))["false_alarm_rate"]
    rows = read_rows(own, others, labels_file(out, jobs[0].cohort))
    seeds = [job.seed for job in jobs]
    return compare(rows, cohort=jobs[0].cohort, detector=jobs[0].detector, against=against, seeds=seeds, rate=rate)


def _scored(folder: Path, against: str) -> bool:
    return scores_file(folder, against).with_suffix(".done.json").is_file()


def _made_otherwise(folder: Path, recipe: Recipe) -> bool:
    """Whether a run, finished or not, lies there that this recipe would not make."""
    path = folder / ("run.json" if is_run(folder) else "training.json")
    if not path.is_file():
        return False
    try:
        before = Recipe.model_validate_json(json.dumps(json.loads(path.read_text(encoding="utf-8"))["recipe"]))
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return _matters(before.model_dump(mode="json")) != _matters(recipe.model_dump(mode="json"))


def _matters(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without what changes no weight: its summaries, and where the images lie."""
    source = {key: value for key, value in recipe["source"].items() if key != "root"}
    transforms = {key: value for key, value in recipe["transforms"].items() if key != "summary"}
    return {**recipe, "summary": "", "source": source, "transforms": transforms}


def _refusal(out: Path, changed: Sequence[Job]) -> str:
    shown = ", ".join(job.place for job in changed[:3]) + (" ..." if len(changed) > 3 else "")
    return (
        f"{out} holds {len(changed)} runs that were made by another recipe than this benchmark's ({shown}). "
        "Train them anew with --retrain, or choose another --out."
    )


def _devices(device: str) -> tuple[str, ...]:
    """All GPUs for "auto", else the one device that is asked for. Raises MedoodError if it is not there."""
    from medood.tasks.device import pick_device

    chosen = str(pick_device(device))
    if device != "auto" or chosen != "cuda":
        return (chosen,)
    import torch

    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def _crew(devices: tuple[str, ...], workers: int | None) -> tuple[int, int]:
    """How many processes, and how many threads each may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers or (len(devices) if devices[0] != "cpu" else min(cores, MOST_WORKERS))
    return count, max(1, cores // count)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keeps a second medood from training in the same folders."""
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".benchmark.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise MedoodError(f"Another medood is working in {out} right now: wait for it, or choose another --out.") from error
    try:
        yield
    finally:
        lock.release()
