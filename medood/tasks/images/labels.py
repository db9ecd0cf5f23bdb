"""A cohort's own labels as the CSV that scores are evaluated against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medood.core.errors import MedoodError, RecipeError
from medood.core.volume import Problem
from medood.data.found import is_harmless
from medood.data.opening import open_source
from medood.evaluation.label_file import write_labels
from medood.index.finding import found_by
from medood.recipe import catalogue
from medood.recipe.changes import apply_changes


def labels_of(
    name: str,
    folder: Path,
    out: Path,
    *,
    table: str | None = None,
    changes: Sequence[str] = (),
    overwrite: bool = False,
    index: str | None = None,
) -> tuple[Problem, ...]:
    """Write the labels of the source `name` on `folder`; returns what has no row although it should: it could not be indexed or read.

    `changes` set parameters of the source, as `year=2016`; the file `out` is replaced only with `overwrite`; `index` names an index to know
    the folder by. Raises MedoodError when the source knows no label.
    """
    _guard(out, overwrite)
    parameters: dict[str, Any] = {"csv": table} if table else {}
    cards = catalogue.sources()
    known = {"": list(cards[name].parameters.model_fields) if name in cards else []}
    if problems := apply_changes(parameters, {}, changes if name in cards else (), lambda _: known):
        raise RecipeError(problems)
    source = open_source(name, folder, **parameters)
    with found_by(source, folder, index) as found:
        return tuple(problem for problem in write_labels(source, out, index=found) if not is_harmless(problem))


def _guard(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() != ".csv":
        raise MedoodError(f"--out must be a file that ends in .csv, found {out}.")
    if out.is_dir():
        raise MedoodError(f"{out} is a folder; --out must be a CSV file.")
    if out.exists() and not overwrite:
        raise MedoodError(f"{out} is already there. Replace it with --overwrite, or choose another --out.")
