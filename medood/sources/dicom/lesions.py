"""Which structure set or segmentation tells where the lesions of a series are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from medood.core.errors import InputError
from medood.core.volume import Entry, Problem
from medood.sources.dicom.structures import matching, structures_in

_NO_LABELS = "no_labels"

AnyEntry = TypeVar("AnyEntry", bound=Entry)


def with_lesions(
    entries: Sequence[AnyEntry], problems: Sequence[Problem], root: Path, wanted: Sequence[str]
) -> tuple[list[AnyEntry], list[Problem]]:
    """Entries with the file of their lesions, among the `problems` that files without pictures are, and the problems that are left.

    A series without such a file keeps its place and has the issue `no_labels`: nobody knows what it shows. One with several that hold a
    wanted region becomes a problem, since nobody can tell which of them counts.
    """
    found: dict[str, list[Path]] = {}
    left = []
    for problem in problems:
        series = _series(root / problem.path, wanted) if problem.code == "no_image" else None
        if series is None:
            left.append(problem)
        elif series:
            found.setdefault(series, []).append(root / problem.path)
    chosen = []
    for entry in entries:
        files = found.get(entry.origin.series_uid, [])
        if len(files) > 1:
            names = ", ".join(file.relative_to(root).as_posix() for file in files)
            message = f"Several files tell where the lesions are: {names}. Take all but one away, or name one in a table."
            left.append(Problem(entry.id, "several_masks", message, entry.origin.study_uid, entry.origin.series_uid))
        else:
            chosen.append(replace(entry, mask=files[0]) if files else replace(entry, issues=(*entry.issues, _NO_LABELS)))
    return chosen, left


def _series(path: Path, wanted: Sequence[str]) -> str | None:
    """The series that a file's regions were drawn on; "" for regions that nobody asked for, None for no file with regions."""
    try:
        series, names = structures_in(path)
    except InputError:
        return None
    if not names:
        return None
    return series if matching(names, wanted) else ""
