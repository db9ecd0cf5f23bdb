"""A node that scores what an archive sends, with one run."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from medood import __version__
from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import InputError
from medood.core.volume import Index
from medood.dicom_objects.kinds import LIST
from medood.node.config import load_config
from medood.node.event_log import told_on_stderr
from medood.node.network import check_installed, log
from medood.node.scoring import Made, Score
from medood.recipe.run import Run, load_run
from medood.scoring.stream import Outcome
from medood.tasks.scoring.score import score_folder


def serve(run: Path, config: Path, *, device: str = "auto") -> None:
    """Take studies, score them with a run and send results, as the configuration says, until Ctrl-C or SIGTERM.

    Raises MedoodError when it cannot begin.
    """
    check_installed()
    from medood.node.node import Node

    settings = load_config(config)
    loaded, target = load_run(run), str(pick_device(device))
    with told_on_stderr():
        log.info("medood %s as a node, with the run %s on %s.", __version__, loaded.name, target)
        Node(settings, study_scorer(loaded, settings.objects, target)).run()
        log.info("Stopped.")


def study_scorer(run: Run, kinds: Collection[str], device: str) -> Score:
    """What a node calls for every study: the run's scores as DICOM objects of these kinds."""

    def score(images: Path, series: Collection[str], out: Path) -> Made:
        table, objects = out / "scores.csv", out / "objects"
        outcome = score_folder(
            run,
            images,
            table,
            objects=objects,
            object_kinds=kinds,
            device=device,
            keep=lambda index: _of_series(index, series),
            console=Console(quiet=True),
        )
        if not outcome.scored:
            raise InputError(f"nothing of it could be scored: {_first_reason(table)}")
        return Made(sorted(objects.glob("*/*.dcm")), "; ".join(_notes(outcome, objects)))

    return score


def _notes(outcome: Outcome, objects: Path) -> Iterator[str]:
    """What is missing, in words."""
    if outcome.failed:
        yield f"{outcome.failed} series or files could not be scored"
    lines = [json.loads(line) for line in (objects / LIST).read_text(encoding="utf-8").splitlines()] if (objects / LIST).is_file() else []
    left_out = Counter((kind, reason) for line in lines for kind, reason in line["left_out"].items())
    for (kind, reason), count in left_out.items():
        yield f"no {kind.replace('_', ' ')} of {count} series: {reason}"


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
