"""A node that scores what an archive sends, with one run; and what its queue says."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import InputError, MedoodError
from medood.core.volume import Index
from medood.node.config import NodeConfig, load_config
from medood.node.network import check_installed, log
from medood.node.node import Node, queue_file
from medood.node.scoring import Made
from medood.node.study_queue import FAILED, STATES, StudyQueue
from medood.recipe.run import Run, load_run
from medood.tasks.score import score_folder

Objects = Callable[[Path, Path], list[Path]]
"""Makes DICOM objects of the scores.csv and the folder of maps of a scoring; returns their files."""


def serve(run: Path, config: Path, objects: Callable[[NodeConfig], Objects], *, device: str = "auto") -> None:
    """Take studies, score them with a run and send results, as the configuration says, until Ctrl-C or SIGTERM.

    Raises MedoodError when it cannot begin.
    """
    check_installed()
    settings = load_config(config)
    loaded, target = load_run(run), str(pick_device(device))
    _log_to_stderr()
    log.info("medood node with the run %s on %s.", loaded.name, target)
    Node(settings, study_scorer(loaded, objects(settings), target)).run()
    log.info("Stopped.")


def study_scorer(run: Run, objects: Objects, device: str) -> Callable[[Path, Collection[str], Path], Made]:
    """What a node calls for every study."""

    def score(images: Path, series: Collection[str], out: Path) -> Made:
        table, maps = out / "scores.csv", out / "maps"
        outcome = score_folder(
            run,
            images,
            table,
            source="folder",
            maps=maps,
            device=device,
            keep=lambda index: _of_series(index, series),
            console=Console(quiet=True),
        )
        if not outcome.scored:
            raise InputError(f"nothing of it could be scored: {_first_reason(table)}")
        failed = f"{outcome.failed} series or files of it could not be scored" if outcome.failed else ""
        return Made(objects(table, maps), failed)

    return score


def status(config: Path) -> bool:
    """Print what is in the queue; whether anything in it has failed."""
    queue = _queue(config)
    studies = queue.overview()
    console = RichConsole(highlight=False, markup=False)
    console.print(", ".join(f"{sum(row[2] == state for row in studies)} {state}" for state in STATES))
    shown = Table("study", "since", "state", "objects", "StudyInstanceUID", "reason", box=None)
    for number, uid, state, objects, reason, changed in studies[:_MOST_SHOWN]:
        since = f"{datetime.fromtimestamp(changed):%Y-%m-%d %H:%M:%S}"
        shown.add_row(*map(Text, (str(number), since, state, str(objects), uid, reason)))
    console.print(shown)
    if len(studies) > _MOST_SHOWN:
        console.print(f"... and {len(studies) - _MOST_SHOWN} older ones.")
    queue.file.close()
    return any(row[2] == FAILED for row in studies)


def retry(config: Path) -> int:
    """Take up what has failed where it failed; returns how many studies. A node may be at work meanwhile."""
    queue = _queue(config)
    try:
        return queue.retry_failed()
    finally:
        queue.file.close()


_MOST_SHOWN = 50


def _queue(config: Path) -> StudyQueue:
    check_installed()
    path = queue_file(load_config(config).folder)
    if not path.is_file():
        raise MedoodError(f"There is no queue at {path}: no node has run with this configuration yet.")
    return StudyQueue(path)


def _of_series(index: Index, series: Collection[str]) -> Index:
    entries = tuple(entry for entry in index.entries if entry.origin.series_uid in series)
    problems = tuple(problem for problem in index.problems if problem.series_uid in series)
    if not entries and not problems:
        raise InputError("there is no image in it that could be scored")
    return replace(index, entries=entries, problems=problems)


def _first_reason(table: Path) -> str:
    with table.open(newline="", encoding="utf-8") as file:
        return next(
            (row["reason"].rstrip(".") for row in csv.DictReader(file) if row["status"] in ("error", "skipped")), "no reason is known"
        )


def _log_to_stderr() -> None:
    """A line per event, with its time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
