"""A folder of images to scores.csv and maps, in constant memory, whatever the folder's size."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256
from medood.core.volume import Index, Source
from medood.data.found import check_found
from medood.data.identifiers import identifiers_file
from medood.data.opening import open_source
from medood.data.split import of_part
from medood.data.training_images import SeenImages, reading, seen_before
from medood.dicom_objects.kinds import KINDS
from medood.engines.engine import LOCAL, Engine
from medood.engines.opened import workers_of
from medood.export.map_files import MapFormat
from medood.features.interface import keep_features
from medood.gate.gate import HOW_TO_ADD_A_GATE, has_gate
from medood.index.finding import found_by
from medood.recipe.numbers import is_numbers
from medood.recipe.run import Run, load_run
from medood.scoring.held_out import held_out_scores
from medood.scoring.rows import Scorer
from medood.scoring.spread.driver import Spread
from medood.scoring.spread.opened import spread_over
from medood.scoring.stream import Outcome, score_index
from medood.tasks.images.from_archive import Images, joined, of_patient
from medood.tasks.scoring.outputs import Outputs


def score_folder(
    run: Path | Run,
    root: Path | Images,
    out: Path,
    *,
    source: str = "folder",
    maps: Path | None = None,
    map_format: MapFormat = "auto",
    maps_with: Collection[str] = (),
    objects: Path | None = None,
    object_kinds: Collection[str] = tuple(KINDS),
    device: str = "auto",
    parameters: Mapping[str, Any] | None = None,
    table: str | None = None,
    part: str | None = None,
    keep: Callable[[Index], Index] | None = None,
    features: Path | None = None,
    identifiers: Path | None = None,
    plane: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    index: str | None = None,
    engine: Engine = LOCAL,
    console: Console | None = None,
) -> Outcome:
    """Score everything below `root` with a run, or what a `table` names (a CSV below `root`), or only its rows of one `part`.

    Where the images come step by step, each step is done with before the next: no more of them is on the disk at a time.

    The run is loaded, or a folder to load it from. `parameters` are those of the source, otherwise the ones that the run itself was
    trained with; `keep` chooses among what was found.
    `features` is a folder that keeps the features of the images, for images that other runs are to score too; `identifiers` a CSV for
    who is who, readable by its owner only.
    Writes `out` (scores.csv or scores.parquet), scores.json beside it, and into `maps` one map per entry, with the files of `maps_with`
    (EXTRAS of `map_folder`) beside it; into `objects` the DICOM objects of `object_kinds` that can be made of it. `plane` cuts volumes
    another way than the run's transforms do; `index` names an index to know the folder by; `engine` is who does it: the rows are the same,
    their order is not. A file that cannot be scored gets a row with its reason; the others go on. When nothing can be begun, nothing is
    left behind.
    """
    console, outcome = console or Console(), Outcome()
    images = root if isinstance(root, Images) else Images.below(root)
    if engine.kind != "local":  # whose workers have working directories of their own
        images = replace(images, folder=images.folder.resolve())
        out, maps, features = out.resolve(), maps and maps.resolve(), features and features.resolve()
    files = Outputs(out, maps, map_format, sorted(maps_with), objects, tuple(object_kinds), resume, overwrite)
    run = run if isinstance(run, Run) else load_run(run)
    scorer = _scorer(run, device, plane, features) if engine.kind == "local" else None
    header = _header(run, images.name, source, plane) | {"table": table, "part": part, "seen_in_training": 0} | files.header
    files.check(header, images.folder, engine)
    parameters = dict(reading(run.recipe, source) if parameters is None else parameters) | ({"csv": table} if table else {})
    place = {"name": source, "root": images.name, "parameters": parameters}
    opened = partial(_open, run, source, images.folder, parameters)
    with ExitStack() as kept_open:
        cluster = kept_open.enter_context(workers_of(engine, device))
        spread: Spread | None = None
        portions = _begun(_portions(images, opened, kept_open, index, part, keep, outcome, console), images)
        _say_before(run, console)
        if cluster is not None:
            whole = portions = list(portions)
            more = {"device": device, "plane": plane, "features": features, "maps": files.map_plan, "own_process": engine.kind == "own"}
            spread = spread_over(cluster, run, header["run_checksum"], place, whole[0][1], out, console, **more)
        add_identifiers = kept_open.enter_context(identifiers_file(identifiers))
        rows, folder, made = kept_open.enter_context(files.opened(run, place, header, spread))
        for reader, found in portions:
            header["seen_in_training"] += _warn_of_seen(run, found, console)
            add_identifiers(found.entries)
            if spread is not None:
                spread.score(found, run.recipe.scoring.batch_size, rows, folder, outcome)
            elif scorer is not None:
                score_index(scorer, reader, found, rows, folder, outcome, console, made)
        files.finish(header, rows, outcome)
    _report(outcome, run, out, console)
    return outcome


def _scorer(run: Run, device: str, plane: str | None, features: Path | None) -> Scorer:
    """The run at work in this process."""
    target = pick_device(device)
    run.detector.to(target)
    if features:
        keep_features(run.detector, features)
    return Scorer(run, target, plane, SeenImages(run))


def _open(run: Run, source: str, root: Path, parameters: Mapping[str, Any]) -> Source:
    if is_numbers(run.recipe.source) and source == "folder":
        raise MedoodError(f"{run.name} was trained on a table of numbers: name the table to score with --source numbers --table TABLE.csv.")
    return open_source(source, root, **parameters)


def _say_before(run: Run, console: Console) -> None:
    """What is to be known before scoring."""
    if cost := run.detector.cost_of_scoring():
        console.say(cost)
    if not has_gate(run.folder):
        console.warn(f"{run.name} has no gate that this medood knows: any image passes. {HOW_TO_ADD_A_GATE.format(run.folder)}")


def _warn_of_seen(run: Run, index: Index, console: Console) -> int:
    """How many of the entries have the ids of images that the run was made from."""
    seen = seen_before(run, index.entries)
    if seen:
        console.warn(f"{seen} of the entries have the ids of images that {run.name} was trained or calibrated on; do not judge it by them.")
    return seen


_Portion = tuple[Source, Index]


def _portions(
    images: Images,
    opened: Callable[[], Source],
    kept_open: ExitStack,
    named: str | None,
    part: str | None,
    keep: Callable[[Index], Index] | None,
    outcome: Outcome,
    console: Console,
) -> Iterator[_Portion]:
    """What there is to score, step by step."""
    for patient in images.steps:
        started = time.perf_counter()
        reader = opened()
        index = of_patient(of_part(kept_open.enter_context(found_by(reader, images.folder, named, console)), part), patient)
        index = keep(index) if keep else index
        outcome.seconds["index"] += time.perf_counter() - started
        count = sum(entry.slices for entry in index.entries)
        console.say(
            f"Found {count} images in {len(index.entries)} series or single files; files that cannot be used: {len(index.problems)}."
        )
        yield reader, index


def _begun(portions: Iterator[_Portion], images: Images) -> Iterable[_Portion]:
    """The same portions, up to the first with an image looked into already. Raises MedoodError when there is nothing in any of them."""
    first: list[_Portion] = []
    for portion in portions:
        first.append(portion)
        if portion[1].entries:
            return chain(first, portions)
    check_found(joined([index for _, index in first], images.folder))
    return first


def _report(outcome: Outcome, run: Run, out: Path, console: Console) -> None:
    if outcome.skipped:
        console.say(f"{outcome.skipped} slices with little of the body in them were skipped.")
    if outcome.unlike:
        console.warn(
            f"{outcome.unlike} of {outcome.scored} series or images are not of the kind that {run.name} was trained on; "
            f"their scores mean little, and they are called out_of_domain. The column domain_reason of {out.name} says why."
        )
    if outcome.near_copies:
        console.warn(
            f"{outcome.near_copies} series or images are near-copies of images that {run.name} was trained or calibrated on (saved again, "
            f"resized or brightened); do not judge it by them. The column seen_in_training of {out.name} says which."
        )
    if outcome.without_map:
        console.warn(f"{outcome.without_map} maps could not be written; {out.name} says why.")
    if outcome.without_object:
        console.warn(f"There are no DICOM objects of {outcome.without_object} series or images: they are no DICOM, or {out.name} says why.")


def _header(run: Run, folder: str, source: str, plane: str | None) -> dict[str, Any]:
    """scores.json: which run made the scores, of which folder, and how decisions are made."""
    image = run.calibration["image"]
    return {
        "run": run.name,
        "run_checksum": sha256(run.folder / "manifest.json"),
        "detector": run.recipe.detector["name"],
        "folder": folder,
        "source": source,
        "plane": plane or run.recipe.transforms.plane,
        "threshold": image["threshold"],
        "false_alarm_rate": image["false_alarm_rate"],
        "false_alarm_interval": image["interval"],
        "held_out_scores": {level: held_out_scores((run.calibration[level] or {}).get("scores", ())) for level in ("image", "series")},
        "series_threshold": (run.calibration["series"] or {}).get("threshold"),
        "held_out_images": len(image["scores"]),
        "held_out_patients": image["patients"],
        "series_false_alarm_interval": (run.calibration["series"] or {}).get("interval"),
        "complete": False,
    }
