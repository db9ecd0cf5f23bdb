"""A folder of images to scores.csv and maps, in constant memory, whatever the folder's size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import InputError, MedoodError
from medood.core.files import sha256, write_json
from medood.core.lock import alone
from medood.core.run import Run, load_run
from medood.core.volume import Entry, Index, Source, Volume
from medood.data.opening import open_source
from medood.data.side_by_side import side_by_side
from medood.data.split import of_part
from medood.data.training_images import reading, seen_before
from medood.features.interface import keep_features
from medood.scoring.inference import Scored
from medood.scoring.map_folder import MapFolder
from medood.scoring.rows import Scorer, entry_row, entry_rows, problem_row
from medood.scoring.table import ScoreTable
from medood.transforms.pipeline import Pipeline, Prepared


@dataclass
class Outcome:
    """What a scoring did.

    scored, failed   entries that were, and entries and files that could not be;  rows  written to scores.csv
    skipped          slices without a score because there is too little of the body in them
    unlike           entries that are not of the kind that the run was trained on
    seconds          by stage
    """

    scored: int = 0
    failed: int = 0
    rows: int = 0
    skipped: int = 0
    unlike: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"index": 0.0, "decode": 0.0, "score": 0.0, "write": 0.0})


@dataclass(eq=False)
class _Work:
    """One entry on its way: decoded and prepared, or the reason why not."""

    entry: Entry
    seconds: float
    volume: Volume | None = None
    prepared: Prepared | None = None
    error: str = ""


def score_folder(
    run_folder: Path,
    root: Path,
    out: Path,
    *,
    source: str = "folder",
    maps: Path | None = None,
    map_format: Literal["nrrd", "nii.gz"] = "nrrd",
    device: str = "auto",
    parameters: Mapping[str, Any] | None = None,
    table: str | None = None,
    part: str | None = None,
    keep: Callable[[Index], Index] | None = None,
    features: Path | None = None,
    plane: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Score everything below `root` with a run, or what a `table` names (a CSV below `root`), or only its rows of one `part`.

    `parameters` are those of the source, otherwise the ones that the run itself was trained with; `keep` chooses among what was found.
    `features` is a folder that keeps the features of the images, for images that other runs are to score too.
    Writes `out` (scores.csv), scores.json beside it, and into `maps` one map per entry. `plane` cuts volumes another way than the run's
    transforms do. A file that cannot be scored gets a row with its reason; the others go on.
    """
    console, outcome = Console(), Outcome()
    run = load_run(run_folder)
    target = pick_device(device)
    run.detector.to(target)
    if features:
        keep_features(run.detector, features)
    header = _header(run, root, source, plane) | {"table": table, "part": part, "maps": str(maps.resolve()) if maps else None}
    _guard(out, header, resume, overwrite)
    if maps and (maps / "maps.jsonl").exists() and not (resume or overwrite):
        raise MedoodError(f"{maps} already holds maps. Choose another --maps, or replace them with --overwrite.")
    parameters = dict(reading(run, source) if parameters is None else parameters) | ({"csv": table} if table else {})
    reader = open_source(source, root, **parameters)
    started = time.perf_counter()
    index = of_part(reader.index(), part)
    index = keep(index) if keep else index
    outcome.seconds["index"] = time.perf_counter() - started
    count = sum(e.slices for e in index.entries)
    console.say(f"Found {count} images in {len(index.entries)} series or single files; files that cannot be used: {len(index.problems)}.")
    if not index.entries and not index.problems:
        raise MedoodError(f"{root}: found no file at all. Expected DICOM, NIfTI, PNG, JPEG or TIFF images.")
    header["seen_in_training"] = seen = seen_before(run, index.entries)
    if seen:
        console.warn(f"{seen} of the entries have the ids of images that {run.name} was trained or calibrated on; do not judge it by them.")
    place = {"name": source, "root": str(root.resolve()), "parameters": parameters}
    with alone(out.with_name(f".{out.name}.lock"), out):
        write_json(out.with_suffix(".json"), header)
        rows = ScoreTable(out, run.calibration["parts"], resume=resume)
        folder = MapFolder(maps, run, place, resume, f".{map_format}") if maps else None
        try:
            _score_all(Scorer(run, target, plane), reader, index, rows, folder, outcome, console)
        finally:
            rows.close()
        outcome.failed = rows.failed
        seconds = {stage: round(value, 2) for stage, value in outcome.seconds.items()}
        write_json(out.with_suffix(".json"), header | {"complete": True, "seconds": seconds})
    _report(outcome, run, out, console)
    return outcome


def _report(outcome: Outcome, run: Run, out: Path, console: Console) -> None:
    if outcome.skipped:
        console.say(f"{outcome.skipped} slices with little of the body in them were skipped.")
    if outcome.unlike:
        console.warn(
            f"{outcome.unlike} of {outcome.scored} series or images are not of the kind that {run.name} was trained on; "
            f"their scores mean little. The column unlike_training of {out.name} says why."
        )


def _score_all(
    scorer: Scorer, source: Source, index: Index, table: ScoreTable, maps: MapFolder | None, outcome: Outcome, console: Console
) -> None:
    for problem in index.problems:
        if not table.has(problem.path):
            table.add([problem_row(problem)])
    waiting = [entry for entry in index.entries if not table.has(entry.id)]

    def work(entry: Entry) -> _Work:
        return _read(source, scorer.pipeline, entry)

    stream = side_by_side(work, waiting, workers=2, ahead=4)
    size = scorer.run.recipe.scoring.batch_size
    for group in _grouped(console.track(stream, "Scoring", len(waiting)), size):
        outcome.seconds["decode"] += sum(item.seconds for item in group)
        good = [item for item in group if item.prepared is not None and len(item.prepared.images)]
        started = time.perf_counter()
        scored = scorer.score(np.concatenate([item.prepared.images for item in good])) if good else None
        outcome.seconds["score"] += time.perf_counter() - started
        started = time.perf_counter()
        begin = 0
        for item in group:
            piece = None
            if item in good and scored is not None:
                end = begin + len(item.prepared.images)
                piece, begin = scored[begin:end], end
            _write(item, piece, scorer, table, maps, outcome)
        table.sync()
        outcome.seconds["write"] += time.perf_counter() - started


def _read(source: Source, pipeline: Pipeline, entry: Entry) -> _Work:
    started = time.perf_counter()
    try:
        volume = source.read(entry)
        prepared = pipeline.prepare(volume)
    except InputError as error:
        return _Work(entry, time.perf_counter() - started, error=f"{error.code}: {str(error).removeprefix(entry.id + ': ')}")
    except MemoryError:
        return _Work(entry, time.perf_counter() - started, error="memory: the volume is too large for the memory of this machine.")
    return _Work(entry, time.perf_counter() - started, volume, prepared)


def _grouped(stream: Iterator[_Work], size: int) -> Iterator[list[_Work]]:
    """Entries together until their images fill a batch, so that single images are scored in batches too."""
    group: list[_Work] = []
    images = 0
    for item in stream:
        group.append(item)
        images += 0 if item.prepared is None else len(item.prepared.images)
        if images >= size:
            yield group
            group, images = [], 0
    if group:
        yield group


def _write(item: _Work, scored: Scored | None, scorer: Scorer, table: ScoreTable, maps: MapFolder | None, outcome: Outcome) -> None:
    """The map first, then the rows: an entry with rows is complete."""
    if item.prepared is None or item.volume is None:
        rows = [entry_row(item.entry) | {"level": "file", "status": "error", "reason": item.error}]
    else:
        if maps is not None and scored is not None:
            maps.add(item.volume, item.prepared, scored)
        rows = entry_rows(item.entry, item.volume, item.prepared, scored, scorer)
        outcome.scored += 1
        outcome.unlike += bool(rows[-1]["unlike_training"])
        outcome.skipped += sum(row["level"] == "slice" and row["status"] == "skipped" for row in rows)
    table.add(rows)
    outcome.rows += len(rows)


def _header(run: Run, root: Path, source: str, plane: str | None) -> dict[str, Any]:
    """scores.json: which run made the scores, of which folder, and how decisions are made."""
    image = run.calibration["image"]
    return {
        "run": run.name,
        "run_checksum": sha256(run.folder / "manifest.json"),
        "detector": run.recipe.detector["name"],
        "folder": str(root.resolve()),
        "source": source,
        "plane": plane or run.recipe.transforms.plane,
        "threshold": image["threshold"],
        "false_alarm_rate": image["false_alarm_rate"],
        "false_alarm_interval": image["interval"],
        "held_out_images": len(image["scores"]),
        "held_out_patients": image["patients"],
        "complete": False,
    }


def _guard(out: Path, header: dict[str, Any], resume: bool, overwrite: bool) -> None:
    if out.suffix.lower() != ".csv":
        raise MedoodError(f"--out must be a file that ends in .csv, found {out}.")
    if out.is_dir():
        raise MedoodError(f"{out} is a folder; --out must be a CSV file.")
    if not out.exists() or overwrite:
        return
    if not resume:
        raise MedoodError(f"{out} is already there. Go on with --resume, replace it with --overwrite, or choose another --out.")
    beside = out.with_suffix(".json")
    try:
        before = json.loads(beside.read_text(encoding="utf-8"))
        before = dict(before)
    except (OSError, ValueError, TypeError) as error:
        raise MedoodError(f"{beside} is missing or damaged, so {out} cannot be continued: replace it with --overwrite.") from error
    changed = [key for key in ("run_checksum", "folder", "source", "plane", "table", "part", "maps") if before.get(key) != header[key]]
    if changed:
        raise MedoodError(f"{out} was made with another {', '.join(changed)}: choose another --out, or replace it with --overwrite.")
