"""Tables of numbers: one case a row."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medood.core.errors import InputError, TableError
from medood.core.files.table_file import Row, read_table
from medood.core.geometry import photograph_geometry
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.annotation import slice_labels
from medood.sources.table import LABELS, PARTS, table_below

LARGEST = 3e38
"""Numbers beyond this are none to a network."""

_SPOKEN_FOR = ("id", "path", "group", "label", "part", "class", "mask")
_MISSING = ("", "na", "n/a", "nan", "null", "none")


@dataclass(frozen=True)
class _Table:
    """values by line; per column the lines without a number, and what stands there."""

    columns: tuple[str, ...]
    rows: Mapping[int, Row]
    values: Mapping[int, np.ndarray]
    missing: Mapping[str, list[int]] = field(default_factory=dict)
    text: Mapping[str, list[int]] = field(default_factory=dict)


class Numbers:
    """Rows of a table of numbers, radiomics features say; for detectors that work on features.

    ```
    root/table.csv                 group,label,area,roundness
                                   p1,0,105.2,0.93
    ```
    A row is a case, and its id is the name of the table with the number of its line. Columns called label (0 normal, 1 anomalous), part
    (train, val, test) and class mean what they mean in a table of images. A row in which a number is missing cannot be used.

    csv      the table, below the root
    columns  the numbers, in their order; null: all columns but id, path, group, label, part, class, mask and `group`
    group    the column that says whose row it is, which is never written anywhere; null: "group" if there is one, else every row is a
             patient of its own
    label    the column that says 0 for normal and 1 for anomalous
    """

    def __init__(self, root: Path, *, csv: str, columns: list[str] | None = None, group: str | None = None, label: str = "label") -> None:
        self.root, self.csv, self.columns, self.group, self.label = Path(root), csv, columns, group, label
        self._found: _Table | None = None
        self._lock = threading.Lock()

    def index(self) -> Index:
        """Raises TableError when a column is not there, or a label or part is none."""
        table, file = self._table(), table_below(self.root, self.csv)
        patients: dict[str, str] = {}
        column = self._group_column(table)
        size = file.stat().st_size / max(len(table.rows), 1)
        entries, problems = [], []
        for line, row in table.rows.items():
            name = f"{self.csv}/{line:06d}"
            if line not in table.values:
                lacking = _some(_without(table, line))
                problems.append(Problem(name, "not_a_number", f"No number in {lacking}; fill the cells or drop the row."))
                continue
            patient = patients.setdefault(row[column], f"patient-{len(patients) + 1:04d}") if column else name
            label, part = LABELS[row[self.label]], row["part"].lower() or None
            entry = Entry(name, (file,), patient, label=label, part=part, bytes_per_image=size, class_name=row["class"] or None)
            entries.append(entry)
        return Index(self.root, tuple(entries), tuple(problems))

    def read(self, entry: Entry) -> Volume:
        """The numbers of a row as the channels of one pixel."""
        values = self._table().values.get(int(entry.id.rpartition("/")[2]))
        if values is None:
            raise InputError(f"{entry.id}: the table no longer has these numbers; index it again.", "unreadable")
        return Volume(entry, values.reshape(-1, 1, 1, 1), photograph_geometry((1, 1, 1)), slice_labels(1, entry.label))

    def number_columns(self) -> tuple[str, ...]:
        """The columns that hold the numbers."""
        return self._table().columns

    def check_training(self, entries: Sequence[Entry]) -> None:
        """Raises TableError naming all columns with text, missing numbers or one and the same number in the rows to train on."""
        table = self._table()
        values = np.stack([table.values[int(entry.id.rpartition("/")[2])] for entry in entries]) if entries else np.zeros((0, 0))
        same = [name for name, column in zip(table.columns, values.T, strict=False) if len(column) and np.ptp(column) == 0]
        wrong = [f"text in {_some(_placed(table.text))}"] if table.text else []
        wrong += [f"missing numbers in {_some(_placed(table.missing))}"] if table.missing else []
        wrong += [f"one and the same number in every training row of {_some(same)}"] if same else []
        if wrong:
            raise TableError(
                [f"{self.root / self.csv}: {'; '.join(wrong)}. Name the other columns under `columns`, or fill the table or drop the rows."]
            )

    def _table(self) -> _Table:
        with self._lock:  # rows are read in threads
            if self._found is None:
                self._found = _read(table_below(self.root, self.csv), self.columns, self.group, self.label)
            return self._found

    def _group_column(self, table: _Table) -> str | None:
        first = next(iter(table.rows.values()), None)
        return self.group or ("group" if first is not None and "group" in first.cells else None)


def _read(file: Path, wanted: Sequence[str] | None, group: str | None, label: str) -> _Table:
    needed = [*(wanted or ()), *([group] if group else []), *([label] if label != "label" else [])]
    rows = read_table(file, needed, hint="One row per case, with a column for every number.")
    if not rows:
        raise TableError([f"{file}: the table has no rows; add one per case."])
    wrong = [f"{file}:{row.line}: {label} {row[label]!r}: expected 0, 1 or nothing." for row in rows if row[label] not in LABELS]
    wrong += [f"{file}:{row.line}: part {row['part']!r}: expected train, val, test or nothing." for row in rows if _no_part(row)]
    if wrong:
        raise TableError(wrong)
    other = {*_SPOKEN_FOR, (group or "").lower(), label.lower()}
    columns = tuple(wanted or (name for name in rows[0].cells if name and name not in other))
    if not columns:
        raise TableError([f"{file}: no column is left for numbers."])
    values: dict[int, np.ndarray] = {}
    missing: dict[str, list[int]] = {}
    text: dict[str, list[int]] = {}
    for row in rows:
        numbers = [_number(row[name]) for name in columns]
        for name, number in zip(columns, numbers, strict=True):
            if number is None:
                (missing if row[name].lower() in _MISSING else text).setdefault(name, []).append(row.line)
        if None not in numbers:
            values[row.line] = np.array(numbers, np.float32)
    return _Table(columns, {row.line: row for row in rows}, values, missing, text)


def _number(cell: str) -> float | None:
    """None for what is no finite number."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < LARGEST else None


def _no_part(row: Row) -> bool:
    return row["part"].lower() not in PARTS


def _without(table: _Table, line: int) -> list[str]:
    return [name for name in table.columns if any(line in found.get(name, ()) for found in (table.missing, table.text))]


def _placed(found: Mapping[str, list[int]]) -> list[str]:
    """Columns with the first line of each."""
    return [f"{name} (line {lines[0]}{f' and {len(lines) - 1} more' if len(lines) > 1 else ''})" for name, lines in found.items()]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names)
