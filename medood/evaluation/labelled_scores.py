"""The rows of scores.csv beside the labels that someone gives for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medood.core.errors import MedoodError, TableError
from medood.core.files.table_file import Mistakes, Row, mistakes_of, plain_path, read_table, unguarded

LEVELS = ("image", "slice", "series")
_UNREADABLE = "file"  # the level of rows for files that could not be scored at all
_COLUMNS = ("part_", "plain_")


class Key(NamedTuple):
    """A row: the id of an entry as `plain_path` spells it, and the native index of a slice or None for the whole entry."""

    id: str
    slice: int | None

    def __str__(self) -> str:
        return f"{self.id!r}" if self.slice is None else f"{self.id!r} slice {self.slice}"


@dataclass(frozen=True)
class Labels:
    """What the labels file says: rows are 0 normal, 1 anomalous, or None for left out on purpose; patients by the id of an entry.

    Ids are spelled as `plain_path` does; the methods take them in any spelling.
    """

    rows: Mapping[Key, int | None]
    groups: Mapping[str, str]
    masks: Mapping[Key, Path]
    notes: Sequence[str] = ()

    def of_slice(self, id: str, number: int) -> int | None:
        """The label of a slice: its own row; that of the entry when no slice of the entry has a row of its own."""
        id = plain_path(id)
        whole = None if id in self._ids_with_slices else self.rows.get(Key(id, None))
        return self.rows.get(Key(id, number), whole)

    def mask_of_slice(self, id: str, number: int) -> Path | None:
        return self.masks.get(Key(plain_path(id), number)) or self.mask_of_whole(id)

    def mask_of_whole(self, id: str) -> Path | None:
        return self.masks.get(Key(plain_path(id), None))

    @cached_property
    def _ids_with_slices(self) -> set[str]:
        return {key.id for key in self.rows if key.slice is not None}


@dataclass(frozen=True)
class ScoredRow:
    """One row of scores.csv; `score` is None unless its status is ok.

    flagged        whether the run called it anomalous; None when it decided nothing
    out_of_domain  whether the run refused to judge it, for it is unlike the training images: then it is not flagged
    seen           whether it is, by id or as a near-copy, an image that the run was trained or calibrated on
    """

    level: str
    key: Key
    group: str
    score: float | None
    flagged: bool | None
    columns: Mapping[str, float]
    reason: str = ""
    out_of_domain: bool = False
    seen: bool = False


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The labelled and scored rows of one level; arrays are (n,).

    flagged        bool, called anomalous by the run, or None when a row has no decision
    columns        parts of the score and trivial features that every row has
    out_of_domain  bool, refused by the run;  seen  bool, images that it was trained or calibrated on
    """

    level: str
    scores: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    flagged: np.ndarray | None
    columns: Mapping[str, np.ndarray]
    out_of_domain: np.ndarray
    seen: np.ndarray


def read_scores(path: Path) -> list[ScoredRow]:
    """Raises TableError with every line that cannot be understood."""
    with mistakes_of(path) as mistakes:
        return [_scored_row(row, mistakes) for row in _rows(path, ("level", "score"))]


def read_labels(path: Path) -> Labels:
    """Columns `id` (or `path`), `label` (0, 1, or empty: leave out), and if wanted `slice`, `group`, `mask` (relative to this file).

    A row that is there twice counts once; rows that contradict each other in the label, or in the patient of one id, are mistakes. Raises
    TableError with all of them.
    """
    rows: dict[Key, int | None] = {}
    groups: dict[str, str] = {}
    masks: dict[Key, Path] = {}
    repeated = 0
    with mistakes_of(path) as mistakes:
        for row in _rows(path, ("label",)):
            key, label = _key(row, mistakes), _label(row, mistakes)
            if rows.get(key, label) != label:
                mistakes.add(row.line, f"{key} has two different labels. Keep one row for it.")
            if row["group"] and groups.setdefault(key.id, row["group"]) != row["group"]:
                mistakes.add(row.line, f"{key.id!r} is of another group in an earlier row. An image has one patient.")
            repeated += key in rows
            rows[key] = label
            if row["mask"]:
                masks[key] = path.parent / row["mask"].replace("\\", "/")
    notes = [f"{path.name}: {repeated} repeated rows count once."] if repeated else []
    left_out = sum(label is None for label in rows.values())
    if left_out:
        notes.append(f"{path.name}: {left_out} rows without a label are left out.")
    return Labels(rows, groups, masks, notes)


def join(scored: Sequence[ScoredRow], labels: Labels) -> tuple[list[LabelledRows], list[str]]:
    """The labelled rows of each level, and sentences on what found no partner. Raises MedoodError when nothing matches."""
    unique = {(row.level, row.key): row for row in reversed(scored)}  # of repeated rows the first counts
    matched = [row for row in scored if unique[row.level, row.key] is row and labels.rows.get(row.key) is not None]
    if not matched:
        raise MedoodError(_nothing_matches(scored, labels))
    notes = list(labels.notes)
    if len(scored) > len(unique):
        notes.append(f"{len(scored) - len(unique)} repeated rows of the scores count once.")
    keys = {row.key for row in scored}
    unscored = [key for key, label in labels.rows.items() if label is not None and key not in keys]
    if unscored:
        notes.append(f"{len(unscored)} labels have no row in the scores (the first: {unscored[0]}).")
    failed = [row for row in matched if row.score is None]
    if failed:
        anomalous = sum(labels.rows[row.key] == 1 for row in failed)
        notes.append(
            f"{len(failed)} labelled rows, {anomalous} of them anomalous, have no score and do not count "
            f"(the first: {failed[0].key}: {failed[0].reason})."
        )
    levels = []
    for level in LEVELS:
        rows = [row for row in matched if row.level == level and row.score is not None]
        total = sum(row.level == level for row in unique.values())
        if rows:
            levels.append(_labelled(level, rows, labels))
        if 0 < len(rows) < total:
            notes.append(f"{level}: {len(rows)} of {total} rows are labelled and scored.")
    if not levels:
        raise MedoodError(f"None of the {len(matched)} labelled rows has a score (the first: {failed[0].key}: {failed[0].reason}).")
    return levels, notes


def _labelled(level: str, rows: Sequence[ScoredRow], labels: Labels) -> LabelledRows:
    names = [name for name in rows[0].columns if all(name in row.columns for row in rows)]
    decided = all(row.flagged is not None for row in rows)
    return LabelledRows(
        level=level,
        scores=np.array([row.score for row in rows], dtype=np.float64),
        labels=np.array([labels.rows[row.key] for row in rows]),
        groups=np.array([patient_of(row, labels) for row in rows]),
        flagged=np.array([row.flagged for row in rows]) if decided else None,
        columns={name: np.array([row.columns[name] for row in rows]) for name in names},
        out_of_domain=np.array([row.out_of_domain for row in rows]),
        seen=np.array([row.seen for row in rows]),
    )


def patient_of(row: ScoredRow, labels: Labels) -> str:
    """The key of the patient: as the labels say, else as the scores say, else every entry by itself."""
    return labels.groups.get(row.key.id) or row.group or row.key.id


def _nothing_matches(scored: Sequence[ScoredRow], labels: Labels) -> str:
    ours = scored[0].key if scored else "no row at all"
    theirs = next((key for key, label in labels.rows.items() if label is not None), "no row with a label")
    return (
        f"No label belongs to a scored row: the scores hold for example {ours}, the labels {theirs}. "
        "`id` must be the path as it stands in the scores, and `slice` the native index from 0, or empty for a whole image or series."
    )


def _scored_row(row: Row, mistakes: Mistakes) -> ScoredRow:
    if row["level"] not in (*LEVELS, _UNREADABLE):
        mistakes.add(row.line, f"level must be one of {', '.join(LEVELS)}, found {row['level']!r}.")
    usable = row["status"] in ("", "ok") and row["score"] != ""
    decision = row["decision"]
    return ScoredRow(
        level=row["level"],
        key=_key(row, mistakes),
        group=unguarded(row["group"]),
        score=_number(row["score"], row, mistakes) if usable else None,
        flagged=decision == "anomalous" if decision else None,
        columns={name: _number(text, row, mistakes) for name, text in row.cells.items() if name.startswith(_COLUMNS) and text},
        reason=row["reason"] or row["status"],
        out_of_domain=decision == "out_of_domain",
        seen=row["seen_in_training"] != "",
    )


def _rows(path: Path, needed: Sequence[str]) -> list[Row]:
    """The rows of a table that also has a column `id` or `path`."""
    rows = read_table(path, needed, hint="See `medood labels` for tables that fit.")
    if rows and not {"id", "path"} & rows[0].cells.keys():
        raise TableError([f"{path}: the column id is missing; found {', '.join(rows[0].cells)}."])
    return rows


def _key(row: Row, mistakes: Mistakes) -> Key:
    name, number = plain_path(unguarded(row["id"] or row["path"])), row["slice"]
    if not name:
        mistakes.add(row.line, "the id is empty.")
    if number and not re.fullmatch(r"\d+(\.0+)?", number):
        mistakes.add(row.line, f"a slice is a whole number from 0, found {number!r}.")
        return Key(name, None)
    return Key(name, int(float(number)) if number else None)


def _label(row: Row, mistakes: Mistakes) -> int | None:
    if row["label"] not in ("", "0", "1", "0.0", "1.0"):
        mistakes.add(row.line, f"a label must be 0 (normal), 1 (anomalous) or empty (leave out), found {row['label']!r}.")
        return None
    return int(float(row["label"])) if row["label"] else None


def _number(text: str, row: Row, mistakes: Mistakes) -> float:
    try:
        return float(text)
    except ValueError:
        mistakes.add(row.line, f"expected a number, found {text!r}.")
        return 0.0
