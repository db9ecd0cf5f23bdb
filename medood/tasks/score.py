"""A folder of images to scores.csv and maps, in constant memory, whatever the folder's size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import MedoodError
from medood.core.files import sha256, write_json
from medood.core.lock import alone
from medood.core.run import Run, load_run
from medood.core.volume import Index
from medood.data.opening import open_source
from medood.data.split import of_part
from medood.data.training_images import reading, seen_before
from medood.scoring.map_folder import MapFolder
from medood.scoring.rows import Scorer
from medood.scoring.stream import Outcome, score_index
from medood.scoring.table import ScoreTable


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
    plane: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Outcome:
    """Score everything below `root` with a run, or what a `table` names (a CSV below `root`), or only its rows of one `part`.

    `parameters` are those of the source, otherwise the ones that the run itself was trained with; `keep` chooses among what was found.
    Writes `out` (scores.csv), scores.json beside it, and into `maps` one map per entry. `plane` cuts volumes another way than the run's
    transforms do. A file that cannot be scored gets a row with its reason; the others go on.
    """
    console, outcome = Console(), Outcome()
    run = load_run(run_folder)
    target = pick_device(device)
    run.detector.to(target)
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
            score_index(Scorer(run, target, plane), reader, index, rows, folder, outcome, console)
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
            f"their scores mean little, and they are called out_of_domain. The column unlike_training of {out.name} says why."
        )
    if outcome.without_map:
        console.warn(f"{outcome.without_map} maps could not be written; {out.name} says why.")


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
