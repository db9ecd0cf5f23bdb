"""A source's own labels as the CSV that scores are evaluated against."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.errors import MedoodError
from medood.core.files.atomic import atomic_file
from medood.core.files.table_file import csv_line
from medood.core.volume import Entry, Index, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.export.maps import write_nrrd
from medood.sources.annotation import DrawsMasks, slice_labels

_COLUMNS = ("id", "slice", "label", "group", "mask")


def write_labels(source: Source, out: Path, *, masks: bool = True, index: Index | None = None) -> tuple[Problem, ...]:
    """Write the labels of a source that knows them, of what is in its `index`; returns what could not be indexed or read and has no row.

    A volume has a row per slice, numbered from 0 along its own slices, and one without number for the whole; a picture has one row. label
    is 0 normal, 1 anomalous, or empty: leave out. group is the patient, mask the path of the lesion mask from the folder of `out`; masks
    that the source draws itself are written there, into `masks/`, if `masks` are wanted. Raises MedoodError when not one label is known.
    """
    index = source.index() if index is None else index
    unreadable: list[Problem] = []
    write_label_rows(out, _rows(source, index.entries, unreadable, out.parent / "masks" if masks else None), mask_base=out.parent)
    return (*index.problems, *unreadable)


def write_label_rows(out: Path, labelled: Iterable[tuple[Entry, np.ndarray]], mask_base: Path) -> None:
    """Write entries with the int8 labels of their slices, in the columns of `write_labels`; one volume at a time is held."""
    known = False
    with atomic_file(out) as part, part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        file.write(csv_line(_COLUMNS))
        for entry, labels in labelled:
            file.writelines(
                csv_line(row[name] for name in _COLUMNS) for row in _entry_rows(entry, labels, _relative(entry.mask, mask_base))
            )
            known = known or bool((labels >= 0).any()) or entry.label is not None
        if not known:
            raise MedoodError("This source knows no labels, so there is nothing to write; give a table with a column label.")


def _rows(source: Source, entries: Iterable[Entry], unreadable: list[Problem], masks: Path | None) -> Iterator[tuple[Entry, np.ndarray]]:
    for entry in entries:
        drawn = masks is not None and isinstance(source, DrawsMasks) and source.draws_mask(entry)
        if not drawn and (entry.label == 0 or (entry.label is not None and entry.slices == 1)):  # no pixel would change it
            yield entry, slice_labels(entry.slices, entry.label)
            continue
        volume = attempt(source.read, entry)
        if isinstance(volume, Problem):
            unreadable.append(volume)
            continue
        yield _with_mask(entry, volume, masks) if drawn and masks else entry, volume.labels


def _with_mask(entry: Entry, volume: Volume, folder: Path) -> Entry:
    """The entry with the file that its mask was written to."""
    if volume.mask is None:
        return entry
    file = folder / f"{entry.id}.nrrd"
    write_nrrd(file, volume.mask, volume.geometry)
    return replace(entry, mask=file)


def _entry_rows(entry: Entry, labels: np.ndarray, mask: str) -> Iterator[dict[str, Any]]:
    common = {"id": entry.id, "group": entry.group, "mask": mask}
    yield common | {"slice": "", "label": _cell(_whole(entry, labels))}
    if entry.slices > 1:
        for number, label in enumerate(labels.tolist()):
            yield common | {"slice": number, "label": _cell(label)}


def _whole(entry: Entry, labels: np.ndarray) -> int:
    """The label of a volume: its own, else anomalous if a slice is, normal if all slices are."""
    if entry.label is not None:
        return entry.label
    return 1 if (labels == 1).any() else 0 if (labels == 0).all() else -1


def _cell(label: int) -> str:
    return "" if label < 0 else str(label)


def _relative(mask: Path | None, base: Path) -> str:
    if mask is None:
        return ""
    try:
        return Path(os.path.relpath(mask, base)).as_posix()
    except ValueError:  # on another drive
        return mask.resolve().as_posix()
