"""What a scoring writes: its table, the file beside it, maps and DICOM objects; and what must not be written over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medood.core.errors import MedoodError
from medood.core.files.atomic import no_traces, write_json
from medood.core.files.lock import alone
from medood.core.files.parquet_file import check_parquet
from medood.dicom_objects.kinds import LIST as OBJECTS
from medood.engines.engine import Engine
from medood.export.map_files import MapFormat
from medood.export.map_list import HEADER, LIST
from medood.recipe.check import nearest
from medood.recipe.run import Run
from medood.scoring.map_folder import EXTRAS, MapFolder
from medood.scoring.parquet_table import continue_parquet, finish_parquet, table_in_work
from medood.scoring.spread.driver import Spread
from medood.scoring.spread.parts import Parts
from medood.scoring.spread.worker import Maps
from medood.scoring.stream import Outcome
from medood.scoring.table import ScoreTable

if TYPE_CHECKING:
    from medood.scoring.dicom_folder import DicomFolder

_ALIKE = ("run_checksum", "folder", "source", "plane", "table", "part", "maps", "map_format", "maps_with", "objects")
"""What scores that are continued must have been made with."""


@dataclass(frozen=True)
class Outputs:
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
