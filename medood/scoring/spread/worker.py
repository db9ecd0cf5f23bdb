"""What a worker does: it looks whether it can take part, loads the run once, and scores units into part files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256
from medood.core.running.installed import differs
from medood.scoring.spread.parts import Part, Scores, part_file, sees, write_part
from medood.scoring.spread.units import Unit

if TYPE_CHECKING:
    from medood.core.volume import Source, Volume
    from medood.export.map_files import MapFormat
    from medood.scoring.inference import Scored
    from medood.scoring.map_folder import MapWriter
    from medood.scoring.rows import Scorer
    from medood.transforms.pipeline import Prepared


@dataclass(frozen=True)
class Maps:
    """Where maps go, in which format, and what is written beside them."""

    folder: Path
    form: MapFormat
    extras: Collection[str]


@dataclass(frozen=True, repr=False)  # logs of the engine may quote it
class Plan:
    """All that a worker needs to know of a scoring but for its units. Paths are those of the driver; workers must see the same files.

    medood        that of the driver, as `installed` says it
    parts, token  the driver's folder of part files, and what it holds
    run_checksum  of the run's manifest;  samples  some files of the images, and their bytes
    own_process   whether the worker was started for this scoring alone
    """

    medood: str
    parts: Path
    token: str
    run: Path
    run_checksum: str
    root: Path
    source: str
    parameters: Mapping[str, Any]
    samples: Sequence[tuple[Path, int]]
    device: str = "auto"
    plane: str | None = None
    features: Path | None = None
    maps: Maps | None = None
    own_process: bool = False


@dataclass(eq=False)
class _Loaded:
    """A run at work in this process."""

    token: str
    scorer: Scorer
    source: Source
    maps: MapWriter | None


_loaded: list[_Loaded] = []
"""The run of the last plan that this process was given, for as long as it lives."""


def examine(plan: Plan, seat: int) -> str | None:
    """Why this worker cannot take part, in a sentence that goes on after a colon; None when it can, and has the run loaded."""
    if (why := differs(plan.medood)) is not None:
        return why
    if not sees(plan.parts, plan.token):
        return f"it does not see {plan.parts.parent.parent}, the folder of --out: choose one on a file system that all workers share."
    manifest = plan.run / "manifest.json"
    if not manifest.is_file():
        return f"it has no run at {plan.run}: put the run on a file system that all workers share."
    if sha256(manifest) != plan.run_checksum:
        return f"it has another run at {plan.run}: put the run on a file system that all workers share."
    for path, size in plan.samples:
        if not path.is_file() or path.stat().st_size != size:
            return f"it does not see the images below {plan.root}: put them on a file system that all workers share."
    try:
        _load(plan, seat)
    except MedoodError as error:
        return str(error)
    return None


def score_unit(plan: Plan, unit: Unit, seat: int) -> None:
    """Score the entries of a unit into its part file. Raises MedoodError when this worker can score nothing."""
    from medood.scoring.stream import Outcome, read_ahead, rows_of, scored_groups

    loaded, outcome = _load(plan, seat), Outcome()
    stream = read_ahead(loaded.source, loaded.scorer.pipeline, unit.entries, loaded.scorer.batch_size)
    names = dict(zip((entry.id for entry in unit.entries), unit.map_names, strict=False))
    maps = None if loaded.maps is None else _MapsOfUnit(loaded.maps, names)
    found = []
    for group in scored_groups(loaded.scorer, stream, outcome):
        with outcome.timed("write"):
            for item in group:
                rows = rows_of(item, loaded.scorer, maps, None, plan.root, outcome)
                found.append(Scores(item.entry.id, rows, maps.lines.get(item.entry.id) if maps else None))
    values = asdict(outcome)
    counts = {name: values[name] for name in ("scored", "skipped", "unlike", "without_map")}
    write_part(part_file(plan.parts, unit.name), Part(found, counts, outcome.seconds))


class _MapsOfUnit:
    """Writes maps under the names that the driver gave, and keeps their lines for its list."""

    def __init__(self, writer: MapWriter, names: Mapping[str, str]) -> None:
        self._writer, self._names = writer, names
        self.lines: dict[str, dict[str, Any]] = {}

    def add(self, volume: Volume, prepared: Prepared, scored: Scored, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        line, codes = self._writer.write(self._names[volume.entry.id], volume, prepared, scored, rows)
        if line is not None:
            self.lines[volume.entry.id] = line
        return codes


def _load(plan: Plan, seat: int) -> _Loaded:
    if _loaded and _loaded[0].token == plan.token:
        return _loaded[0]
    _loaded.clear()
    if plan.own_process:
        from medood.core.running.fast_start import import_monai_alone
        from medood.core.running.memory import keep_freed_memory

        keep_freed_memory()
        import_monai_alone()
    from medood.core.device import device_of_seat
    from medood.data.opening import open_source
    from medood.data.training_images import SeenImages
    from medood.features.interface import keep_features
    from medood.recipe.run import load_run
    from medood.scoring.map_folder import MapWriter
    from medood.scoring.rows import Scorer

    run, device = load_run(plan.run), device_of_seat(plan.device, seat)
    run.detector.to(device)
    if plan.features:
        keep_features(run.detector, plan.features)
    maps = None if plan.maps is None else MapWriter(plan.maps.folder, run, plan.maps.form, plan.maps.extras)
    scorer = Scorer(run, device, plan.plane, SeenImages(run))
    _loaded.append(_Loaded(plan.token, scorer, open_source(plan.source, plan.root, **plan.parameters), maps))
    return _loaded[0]
