"""Does a run know when not to score? Normal images, lesions and images of another kind through it, and the tables of what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medood.benchmarking.blind_spot.report import cases_csv, study_tables
from medood.benchmarking.blind_spot.shifts import SHIFTS
from medood.benchmarking.blind_spot.study import NORMAL, Study, thinned
from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import MedoodError
from medood.core.files.atomic import write_text
from medood.data.found import check_found
from medood.data.opening import open_source
from medood.data.split import of_part
from medood.data.training_images import SeenImages, reading
from medood.export.tables import Table, as_csv, as_latex, as_markdown, as_text
from medood.recipe.run import load_run
from medood.scoring.rows import Scorer


@dataclass(frozen=True)
class Tables:
    """The tables, and the folder that has them in every form."""

    tables: Sequence[Table]
    folder: Path


def blind_spot(
    run_folder: Path,
    root: Path,
    out: Path,
    *,
    source: str = "folder",
    table: str | None = None,
    part: str | None = None,
    shifts: Sequence[str] = (),
    most: int | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Tables:
    """Show a run normal images below `root`, the same with lesions and shifts that are generated, and images of another kind.

    shifts  of the user, each "NAME=FOLDER" or "NAME={name: brats, root: FOLDER, modality: t1}", a source as in a recipe
    most    files or series to take at most of each folder, evenly spaced

    Images that the run was made from are left out; those that are labelled anomalous are lesions. Writes cases.csv, a row per image, and
    the tables "outcomes", "auroc" and "failures" as .txt, .md, .tex and .csv into `out`. Raises MedoodError when nothing is to be shown.
    """
    console = Console()
    others = {name: _opened(name, where) for name, where in map(_named, shifts)}
    run, target = load_run(run_folder), pick_device(device)
    run.detector.to(target)
    parameters = reading(run.recipe, source) | ({"csv": table} if table else {})
    reader = open_source(source, root, **parameters)
    index = of_part(reader.index(), part)
    check_found(index)
    study = Study(Scorer(run, target, None, SeenImages(run)), reader, thinned(index, most), seed, console)
    study.add_generated()
    for name, other in others.items():
        found = other.index()
        check_found(found)
        study.add_shifted(name, other, thinned(found, most).entries)
    for note in study.notes:
        console.warn(note)
    made = study_tables(study.cases, study.notes, run.name)
    write_text(out / "cases.csv", cases_csv(study.cases))
    for each in made:
        for ending, render in ((".txt", as_text), (".md", as_markdown), (".tex", as_latex), (".csv", as_csv)):
            write_text(out / f"{each.name}{ending}", render(each))
    return Tables(made, out)


def _named(text: str) -> tuple[str, str]:
    name, equals, where = text.partition("=")
    if not (name.strip() and equals and where.strip()):
        raise MedoodError(f"--shift: found {text!r}, expected NAME=FOLDER, or NAME={{name: brats, root: FOLDER, modality: t1}}.")
    if name.strip() in SHIFTS or name.strip() == NORMAL:
        raise MedoodError(f"--shift: {name.strip()!r} is the name of a generated one: choose another.")
    return name.strip(), where.strip()


def _opened(name: str, where: str) -> Any:
    """The source of a user's shift."""
    chosen: Mapping[str, Any] = {"name": "folder", "root": where}
    if where.startswith("{"):
        try:
            chosen = yaml.safe_load(where)
        except yaml.YAMLError as error:
            raise MedoodError(f"--shift {name}: {where} cannot be read: write {{name: brats, root: FOLDER, modality: t1}}.") from error
    if not isinstance(chosen, dict) or not isinstance(chosen.get("name"), str):
        raise MedoodError(f"--shift {name}: {where} names no source: write {{name: brats, root: FOLDER, modality: t1}}.")
    parameters = dict(chosen)
    return open_source(parameters.pop("name"), parameters.pop("root", None), **parameters)
