"""The tables that publishers put beside their images: rows with their lines, opaque patients, and which of the images are there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from medood.core.errors import InputError, MedoodError
from medood.core.files.table_file import Mistakes, Row, read_table
from medood.core.volume import Entry, Index, Problem

Fact = TypeVar("Fact")


def check_present(root: Path, names: Sequence[str], cohort: str) -> None:
    """Raises MedoodError that says which of the files and folders `names` are not in `root`."""
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; check the path.", "not_found")
    if missing := [name for name in names if not (root / name).exists()]:
        found = ", ".join(sorted(path.name for path in root.iterdir())[:4]) or "nothing"
        raise MedoodError(
            f"{root}: {', '.join(missing)} missing: {cohort} needs {', '.join(names)} there, found {found}. "
            "Unpack the whole download, or point root at the folder that holds it."
        )


def read_rows(file: Path, columns: Sequence[str], mistakes: Mistakes) -> list[Row]:
    """The rows that name an image in the first of the `columns`; the others are mistakes.

    Raises TableError for a missing column, a table without rows, and a file that is no table.
    """
    rows = read_table(file, columns, hint="Download the table again.")
    if not rows:
        raise MedoodError(f"{file}: the table has no rows; download it again.")
    for row in rows:
        if not row[columns[0]]:
            mistakes.add(row.line, f"{columns[0]} is empty; download the table again.")
    return [row for row in rows if row[columns[0]]]


def number_patients(keys: Iterable[str]) -> dict[str, str]:
    """An opaque name for each patient, counted in the order of the table, so that it does not depend on which images are there."""
    return {key: f"patient-{number:05d}" for number, key in enumerate(dict.fromkeys(keys), start=1)}


def listed(index: Index, folder: str, facts: Mapping[str, Fact], table: str) -> tuple[list[tuple[Entry, Fact]], list[Problem]]:
    """The entries that a table lists, each with what it says of them, and the problems: images without a row, rows without an image.

    `facts` are by the name of the image's file without its ending, `folder` is where the images should be.
    """
    chosen = [(entry, facts[_stem(entry)]) for entry in index.entries if _stem(entry) in facts]
    problems = [*index.problems]
    for entry in index.entries:
        if _stem(entry) not in facts:
            problems.append(Problem(entry.id, "not_listed", f"{table} has no row for this image; it is left out."))
    there = {_stem(entry) for entry in index.entries} | {PurePosixPath(problem.path).stem for problem in index.problems}
    if missing := sorted(facts.keys() - there):
        first = ", ".join(missing[:3])
        message = f"{len(missing)} of the {len(facts)} images in {table} are missing, such as {first}; download the images again."
        problems.append(Problem(folder, "incomplete", message))
    return chosen, sorted(problems, key=lambda problem: problem.path)


def below(folder: str, index: Index, root: Path) -> Index:
    """The index of `root/folder` as one of `root`: the folder goes in front of every id and path."""
    entries = tuple(replace(entry, id=f"{folder}/{entry.id}") for entry in index.entries)
    problems = tuple(replace(problem, path=f"{folder}/{problem.path}") for problem in index.problems)
    return Index(root, entries, problems)


def _stem(entry: Entry) -> str:
    return entry.files[0].stem
