"""Is a folder of the kind of images that a run was made for? Asked without the detector. And a gate for runs that were made without one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from medood.core.console import Console
from medood.core.errors import MedoodError, RunError
from medood.core.files.atomic import append, atomic_file
from medood.core.files.lock import alone
from medood.core.files.table_file import csv_line
from medood.core.volume import Entry, Index, Problem, Source
from medood.data.attempt import attempt
from medood.data.cache import Cache, CachedEntry, CachedImages
from medood.data.found import check_found, is_harmless
from medood.data.input_facts import input_facts
from medood.data.opening import open_source
from medood.data.side_by_side import side_by_side
from medood.data.split import of_part
from medood.data.training_images import reading
from medood.features.interface import describer
from medood.gate.fitting import Features, fit_gate
from medood.gate.gate import HOW_TO_ADD_A_GATE, Gate, has_gate
from medood.index.finding import found_by
from medood.recipe.recipe import Recipe
from medood.recipe.run import add_file, load_run, recipe_of
from medood.scoring.rows import domain_cells, entry_row, failed_row, joined, problem_row
from medood.scoring.stream import Item, read_ahead
from medood.transforms.pipeline import Pipeline

_COLUMNS = ("level", "id", "slice", "group", "in_domain", "domain_p", "domain_reason", "status", "reason", "issues")
_CPU = torch.device("cpu")
_OTHER_CHANNELS = "channels"  # code of an image that the run's transforms refuse for its colours


@dataclass
class Answer:
    """How many series and single images are of the run's kind, and how many are not; files that could not be read; seconds for all."""

    inside: int = 0
    outside: int = 0
    failed: int = 0
    seconds: float = 0.0


def gate_folder(
    run_folder: Path,
    root: Path,
    out: Path,
    *,
    source: str = "folder",
    table: str | None = None,
    part: str | None = None,
    overwrite: bool = False,
    index: str | None = None,
) -> Answer:
    """Write a row for every slice, image and series below `root` into the CSV `out`, replaced only with `overwrite`.

    `index` names an index to know the folder by.
    Raises MedoodError for a run without a gate, and when there is nothing to look at.
    """
    if out.exists() and not overwrite:
        raise MedoodError(f"{out} is already there. Replace it with --overwrite, or choose another --out.")
    recipe, console, answer = recipe_of(run_folder), Console(), Answer()
    pipeline = Pipeline(recipe.transforms)
    gate = Gate.load(run_folder, pipeline.spec)
    if gate is None:
        raise MedoodError(
            f"{run_folder} has no gate that this medood knows: it was made by another. {HOW_TO_ADD_A_GATE.format(run_folder)}"
        )
    features = describer(load_run(run_folder).detector, _CPU) if gate.needs_features else None
    with ExitStack() as stack:
        reader, found = stack.enter_context(_found(recipe, root, source, table, part, index))
        started = time.perf_counter()
        part_file = stack.enter_context(atomic_file(out))
        file = stack.enter_context(part_file.open("ab", buffering=0))
        append(file, csv_line(_COLUMNS).encode())
        for row in (problem_row(problem) for problem in found.problems):
            append(file, _line(row))
        for item in console.track(read_ahead(reader, pipeline, found.entries), "Asking", len(found.entries)):
            rows = list(_rows(item, gate, features, pipeline, found.root))
            _count(rows[-1], answer)
            append(file, b"".join(_line(row) for row in rows))
        answer.failed += sum(not is_harmless(problem) for problem in found.problems)
    answer.seconds = time.perf_counter() - started
    return answer


def fit_run_gate(
    run_folder: Path,
    root: Path,
    *,
    source: str = "folder",
    table: str | None = None,
    part: str | None = None,
    overwrite: bool = False,
    cache: Path | None = None,
    index: str | None = None,
) -> list[str]:
    """Fit a gate on the normal images below `root`, make it part of the run, and return what it cannot ask, in sentences.

    A gate that can be asked is replaced only with `overwrite`. Images labelled anomalous are left out. Raises MedoodError when no image is
    left.
    """
    with alone(run_folder / ".lock", run_folder):
        recipe, console = recipe_of(run_folder), Console()
        if not overwrite and _can_be_asked(run_folder):
            raise MedoodError(f"{run_folder} has a gate already: replace it with --overwrite.")
        pipeline = Pipeline(recipe.transforms)
        with _found(recipe, root, source, table, part, index) as (reader, there):
            normal = [entry for entry in there.entries if entry.label != 1]
        found = _prepared(Cache(pipeline, (source, {}), cache), reader, normal, console)
        images = CachedImages(found)
        if not len(images):
            raise MedoodError(f"{root} holds no normal image that the run can take: a gate is fitted on normal images.")
        facts, rate = [entry.facts for entry in images.entries], recipe.calibration.false_refusal_rate
        features = describer(load_run(run_folder).detector, _CPU)
        gate = fit_gate(lambda numbers: images.gather(numbers).numpy(), images.groups, facts, pipeline.spec, rate, features=features)
        add_file(run_folder, gate.save(run_folder))
        return list(gate.left_out)


def _can_be_asked(run_folder: Path) -> bool:
    """Whether the run has a gate, and neither one of an older medood nor a damaged one, which are to be fitted again."""
    try:
        return has_gate(run_folder)
    except RunError:
        return False


def _prepared(store: Cache, reader: Source, entries: Sequence[Entry], console: Console) -> list[CachedEntry]:
    """Those of the entries that can be used; the others are named."""

    def one(entry: Entry) -> CachedEntry | Problem:
        return attempt(partial(store.prepared, reader), entry)

    found = []
    for made in console.track(side_by_side(one, entries, workers=2, ahead=4), "Preparing", len(entries)):
        if isinstance(made, Problem):
            console.warn(f"Left out: {made.path}: {made.message}")
        else:
            found.append(made)
    return found


@contextmanager
def _found(
    recipe: Recipe, root: Path, source: str, table: str | None, part: str | None, named: str | None
) -> Iterator[tuple[Source, Index]]:
    """The source and what it finds, for as long as the block runs."""
    parameters = dict(reading(recipe, source)) | ({"csv": table} if table else {})
    reader = open_source(source, root, **parameters)
    with found_by(reader, root, named) as everything:
        index = of_part(everything, part)
        check_found(index)
        yield reader, index


def _rows(item: Item, gate: Gate, features: Features | None, pipeline: Pipeline, root: Path) -> Iterator[dict[str, Any]]:
    """A row per slice and one for the series, or the one row of a single image."""
    entry = item.entry
    if isinstance(item.state, Problem):
        row = failed_row(entry, item.state, root)
        other = item.state.code == _OTHER_CHANNELS
        yield row | ({"in_domain": "no", "domain_p": 0.0, "domain_reason": "other colours than the run takes"} if other else {})
        return
    volume, prepared = item.state.volume, item.state.prepared
    base = {key: value for key, value in entry_row(entry).items() if key in _COLUMNS}
    base |= {"status": "ok", "issues": joined([*entry.issues, *volume.issues])}
    plane_is_chosen = pipeline.preparation.plane != "native"
    look = gate.look(prepared.images, features(prepared.images) if features and len(prepared.images) else None)
    judged = gate.judge(look, input_facts(volume, prepared), plane_is_chosen)
    single = entry.slices == 1
    for number, one in zip(prepared.slices.tolist(), judged, strict=True):
        yield base | {"level": "image" if single else "slice", "slice": "" if single else number} | domain_cells(one)
    if not judged:
        yield base | {"level": "image" if single else "series", "status": "skipped", "reason": "; ".join(set(prepared.skipped.values()))}
    elif not single:
        yield base | {"level": "series"} | domain_cells(gate.series(judged))


def _line(row: Mapping[str, Any]) -> bytes:
    return csv_line(row.get(key, "") for key in _COLUMNS).encode("utf-8", "backslashreplace")


def _count(row: Mapping[str, Any], answer: Answer) -> None:
    """The last row of an entry."""
    answer.inside += row.get("in_domain") == "yes"
    answer.outside += row.get("in_domain") == "no"
    answer.failed += row["status"] == "error" and "in_domain" not in row
