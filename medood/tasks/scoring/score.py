"""A folder of images to scores.csv and maps, in constant memory, whatever the folder's size."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import MedoodError
from medood.core.files import no_traces, sha256, write_json
from medood.core.lock import alone
from medood.core.parquet_file import check_parquet
from medood.core.volume import Index, Source
from medood.data.found import check_found
from medood.data.identifiers import identifiers_file
from medood.data.opening import open_source
from medood.data.split import of_part
from medood.data.training_images import SeenImages, reading, seen_before
from medood.dicom_objects.kinds import KINDS
from medood.dicom_objects.kinds import LIST as OBJECTS
from medood.engines.engine import LOCAL, Engine
from medood.engines.opened import workers_of
from medood.export.map_files import MapFormat
from medood.export.map_list import HEADER, LIST
from medood.features.interface import keep_features
from medood.gate.gate import HOW_TO_ADD_A_GATE, has_gate
from medood.index.finding import found_by
from medood.recipe.check import nearest
from medood.recipe.numbers import is_numbers
from medood.recipe.run import Run, load_run
from medood.scoring.held_out import held_out_scores
from medood.scoring.map_folder import EXTRAS, MapFolder
from medood.scoring.parquet_table import continue_parquet, finish_parquet, table_in_work
from medood.scoring.rows import Scorer
from medood.scoring.spread.driver import Spread
from medood.scoring.spread.opened import spread_over
from medood.scoring.spread.parts import Parts
from medood.scoring.spread.worker import Maps
from medood.scoring.stream import Outcome, score_index
from medood.scoring.table import ScoreTable
from medood.tasks.images.from_archive import Images, joined, of_patient

if TYPE_CHECKING:
    from medood.scoring.dicom_folder import DicomFolder

_ALIKE = ("run_checksum", "folder", "source", "plane", "table", "part", "maps", "map_format", "maps_with", "objects")
"""What scores that are continued must have been made with."""


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
    files = _Files(out, maps, map_format, sorted(maps_with), objects, tuple(object_kinds), resume, overwrite)
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
        console.warn(f"{run.name} has no gate, so any image passes for one of its kind. {HOW_TO_ADD_A_GATE.format(run.folder)}")


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


@dataclass(frozen=True)
class _Files:
    """What a scoring writes, and whether it may go on with, or replace, what is there."""

    out: Path
    maps: Path | None
    map_format: MapFormat
    maps_with: Sequence[str]
    objects: Path | None
    object_kinds: tuple[str, ...]
    resume: bool
    overwrite: bool

    @property
    def beside(self) -> Path:
        return self.out.with_suffix(".json")

    @property
    def header(self) -> dict[str, Any]:
        """What scores.json says of the maps and the objects."""
        objects = {"objects": str(self.objects.resolve()) if self.objects else None}
        if self.maps is None:
            return {"maps": None} | objects
        return {"maps": str(self.maps.resolve()), "map_format": self.map_format, "maps_with": self.maps_with} | objects

    @property
    def table(self) -> Path:
        """The CSV that is `out`, or becomes it."""
        return table_in_work(self.out)

    @property
    def map_plan(self) -> Maps | None:
        return Maps(self.maps, self.map_format, self.maps_with) if self.maps else None

    def check(self, header: Mapping[str, Any], root: Path, engine: Engine) -> None:
        """Raises MedoodError when scores with this header cannot be written by this engine, or maps of the images below `root`."""
        if self.objects and engine.kind != "local":
            raise MedoodError("--dicom needs --engine local: score with --maps, then make the objects with `medood dicom MAPS`.")
        _guard(self.out, self.table, self.beside, header, self.resume, self.overwrite)
        _guard_maps(self.maps, self.maps_with, root, self.resume or self.overwrite)
        if self.objects is not None and _is_within(self.objects, root):
            raise MedoodError(
                f"{self.objects} is in the folder of the images, where objects would pass for images. Choose another --dicom."
            )

    @contextmanager
    def opened(
        self, run: Run, place: Mapping[str, Any], header: Mapping[str, Any], spread: Spread | None
    ) -> Iterator[tuple[ScoreTable, MapFolder | None, DicomFolder | None]]:
        """The table and the folders of maps and objects, beside scores.json, for this process alone, once the workers are ready.

        No trace of them if they cannot be made.
        """
        lock = self.out.with_name(f".{self.out.name}.lock")
        made = [self.table, self.beside, *([self.maps / HEADER] if self.maps else []), *([self.objects / OBJECTS] if self.objects else [])]
        with no_traces(*made) as keep_traces, alone(lock, self.out):  # which removes its own traces
            if not self.resume:
                Parts(self.out).remove()
            if spread is not None:
                spread.get_ready()
            form, extras = self.map_format, self.maps_with
            folder = MapFolder(self.maps, run, place, resume=self.resume, form=form, extras=extras) if self.maps else None
            objects = _objects(self.objects, run, self.object_kinds, self.resume) if self.objects else None
            write_json(self.beside, header)
            if self.resume:
                continue_parquet(self.out)
            rows = ScoreTable(self.table, run.calibration["parts"], resume=self.resume)
            keep_traces()
            try:
                yield rows, folder, objects
            finally:
                rows.close()

    def finish(self, header: Mapping[str, Any], rows: ScoreTable, outcome: Outcome) -> None:
        """Everything is in the table."""
        finish_parquet(self.out, rows.columns)
        outcome.failed, outcome.near_copies = rows.failed, rows.near_copies
        seconds = {stage: round(value, 2) for stage, value in outcome.seconds.items()}
        write_json(self.beside, {**header, "complete": True, "near_copies": outcome.near_copies, "seconds": seconds})
        Parts(self.out).remove()


def _objects(folder: Path, run: Run, kinds: tuple[str, ...], resume: bool) -> DicomFolder:
    """What writes DICOM is imported only where it is wanted."""
    from medood.scoring.dicom_folder import DicomFolder

    return DicomFolder(folder, run, kinds=kinds, resume=resume)


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


def _is_within(folder: Path, root: Path) -> bool:
    return folder.resolve() == root.resolve() or root.resolve() in folder.resolve().parents


def _guard_maps(maps: Path | None, maps_with: Sequence[str], root: Path, may_be_there: bool) -> None:
    unknown = [name for name in maps_with if name not in EXTRAS]
    if unknown:
        raise MedoodError(f"--maps-with takes {', '.join(EXTRAS)}; found {unknown[0]!r}{nearest(unknown[0], EXTRAS)}.")
    if maps_with and maps is None:
        raise MedoodError("--maps-with says what is written beside the maps; name their folder with --maps.")
    if maps is None:
        return
    if _is_within(maps, root):
        raise MedoodError(f"{maps} is in the folder of the images, where maps would pass for images. Choose another --maps.")
    if (maps / LIST).exists() and not may_be_there:
        raise MedoodError(f"{maps} already holds maps. Choose another --maps, or replace them with --overwrite.")


def _guard(out: Path, table: Path, beside: Path, header: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise MedoodError(f"--out must be a file that ends in .csv or .parquet, found {out}.")
    check_parquet(out)
    if out.is_dir():
        raise MedoodError(f"{out} is a folder; --out must be a CSV or Parquet file.")
    if not (out.exists() or table.exists()) or overwrite:
        return
    if not resume:
        raise MedoodError(f"{out} is already there. Go on with --resume, replace it with --overwrite, or choose another --out.")
    try:
        before = json.loads(beside.read_text(encoding="utf-8"))
        before = dict(before)
    except (OSError, ValueError, TypeError) as error:
        raise MedoodError(f"{beside} is missing or damaged, so {out} cannot be continued: replace it with --overwrite.") from error
    if changed := [key for key in _ALIKE if before.get(key) != header.get(key)]:
        raise MedoodError(f"{out} was made with another {', '.join(changed)}: choose another --out, or replace it with --overwrite.")
