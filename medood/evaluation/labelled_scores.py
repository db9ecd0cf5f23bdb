"""The rows of scores.csv beside the labels that someone gives for them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medood.core.errors import InputError, MedoodError

LEVELS = ("image", "slice", "series")
_UNREADABLE = "file"  # the level of rows for files that could not be scored at all
_COLUMNS = ("part_", "plain_")


class Key(NamedTuple):
    """A row: the id of an entry, and the native index of a slice or None for the whole entry."""

    id: str
    slice: int | None

    def __str__(self) -> str:
        return f"{self.id!r}" if self.slice is None else f"{self.id!r} slice {self.slice}"


@dataclass(frozen=True)
class Labels:
    """What the labels file says: rows are 0 normal, 1 anomalous, or None for left out on purpose; patients by the id of an entry."""

    rows: Mapping[Key, int | None]
    groups: Mapping[str, str]
    masks: Mapping[Key, Path]
    notes: Sequence[str] = ()

    def of_slice(self, id: str, number: int) -> int | None:
        """The label of a slice: its own row; that of the entry when no slice of the entry has a row of its own."""
        whole = None if id in self._ids_with_slices else self.rows.get(Key(id, None))
        return self.rows.get(Key(id, number), whole)

    def mask_of_slice(self, id: str, number: int) -> Path | None:
        return self.masks.get(Key(id, number)) or self.masks.get(Key(id, None))

    @cached_property
    def _ids_with_slices(self) -> set[str]:
        return {key.id for key in self.rows if key.slice is not None}


@dataclass(frozen=True)
class ScoredRow:
    """One row of scores.csv; `score` is None unless its status is ok.

    `flagged` is the run's own decision, None when it made none: True for anomalous, and for out_of_domain, for that does not pass as normal
    either; `foreign` says that it was the latter.
    """

    level: str
    key: Key
    group: str
    score: float | None
    flagged: bool | None
    columns: Mapping[str, float]
    reason: str = ""
    foreign: bool = False


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The labelled and scored rows of one level; arrays are (n,).

    flagged  bool, the run's own decisions, or None when a row has none
    columns  parts of the score and trivial features that every row has
    """

    level: str
    scores: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    flagged: np.ndarray | None
    columns: Mapping[str, np.ndarray]


def read_scores(path: Path) -> list[ScoredRow]:
    """Raises InputError naming the line that cannot be understood."""
    return [_scored_row(row, f"{path.name} line {line}") for line, row in _rows(path, ("level", "id", "score"))]


def read_labels(path: Path) -> Labels:
    """Columns `id` (or `path`), `label` (0, 1, or empty: leave out), and if wanted `slice`, `group`, `mask` (relative to this file).

    A row that is there twice counts once; two rows that contradict each other are an InputError.
    """
    rows: dict[Key, int | None] = {}
    groups: dict[str, str] = {}
    masks: dict[Key, Path] = {}
    repeated = 0
    for line, row in _rows(path, ("label",)):
        where = f"{path.name} line {line}"
        key, label = _key(row, where), _label(row["label"], where)
        if rows.get(key, label) != label:
            raise InputError(f"{where}: {key} has two different labels. Keep one row for it.", "bad_label")
        repeated += key in rows
        rows[key] = label
        if row.get("group"):
            groups[key.id] = row["group"]
        if row.get("mask"):
            masks[key] = path.parent / row["mask"]
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
        foreign = sum(row.foreign for row in rows)
        if foreign:
            notes.append(f"{level}: {foreign} of {len(rows)} rows are out of domain; they count as called anomalous, not as passed.")
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


def _scored_row(row: Mapping[str, str], where: str) -> ScoredRow:
    if row["level"] not in (*LEVELS, _UNREADABLE):
        raise InputError(f"{where}: level must be one of {', '.join(LEVELS)}, found {row['level']!r}.", "bad_scores")
    usable = row.get("status", "ok") == "ok" and row["score"] != ""
    decision = row.get("decision", "")
    columns = {name: _number(value, where) for name, value in row.items() if name.startswith(_COLUMNS) and value}
    return ScoredRow(
        level=row["level"],
        key=_key(row, where),
        group=row.get("group", ""),
        score=_number(row["score"], where) if usable else None,
        flagged=decision != "normal" if decision else None,
        columns=columns,
        reason=row.get("reason", "") or row.get("status", ""),
        foreign=decision == "out_of_domain",
    )


def _rows(path: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Line number and stripped cells of every row; a missing cell is empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = [(reader.line_num, {name: (row[name] or "").strip() for name in names}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path} as a table: {error}. A CSV file in UTF-8 with a header line is expected.") from error
    missing = [name for name in needed if name not in names]
    if "id" not in names and "path" not in names:
        missing.append("id")
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; found {', '.join(names) or 'nothing'}.", "missing_column")
    return rows


def _key(row: Mapping[str, str], where: str) -> Key:
    name = (row.get("id") or row.get("path", "")).replace("\\", "/")
    if name[:2] in ("'=", "'+", "'-", "'@"):  # as written to scores.csv, so that no spreadsheet runs it as a formula
        name = name[1:]
    if not name:
        raise InputError(f"{where}: the id is empty.", "missing_id")
    number = row.get("slice", "")
    if number and not re.fullmatch(r"\d+(\.0+)?", number):
        raise InputError(f"{where}: a slice is a whole number from 0, found {number!r}.", "bad_slice")
    return Key(name, int(float(number)) if number else None)


def _label(text: str, where: str) -> int | None:
    if text == "":
        return None
    if text not in ("0", "1", "0.0", "1.0"):
        raise InputError(f"{where}: a label must be 0 (normal), 1 (anomalous) or empty (leave out), found {text!r}.", "bad_label")
    return int(float(text))


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{where}: expected a number, found {text!r}.", "bad_number") from error
