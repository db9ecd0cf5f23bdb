"""The table that says which images a study is made of: a CSV file with one row per image or series."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medood.core.errors import MedoodError

_COLUMNS = ("path", "group", "label", "part")
_LABELS = {"": None, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
_PARTS = ("", "train", "val", "test")


@dataclass(frozen=True)
class Row:
    """One row; `line` is its line in the file and paths are relative to the root."""

    line: int
    path: str
    group: str
    label: int | None
    part: str | None
    mask: str | None


def read_table(file: Path) -> list[Row]:
    """The rows of a table with the columns path, group, label, part and, if wanted, mask; other columns are ignored.

    label is 0 normal, 1 anomalous or empty; part is train, val, test or empty. Raises MedoodError with the line of the first mistake: a
    missing column, an unknown value, a path named twice or leading out of the root, a group in two parts.
    """
    if not file.is_file():
        raise MedoodError(f"{file}: there is no such table; put it below the folder of the images, or name another.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            columns = [str(name).strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            if missing := [name for name in _COLUMNS if name not in columns]:
                found = ", ".join(columns) or "nothing"
                raise MedoodError(f"{file}: the columns {', '.join(missing)} are missing; found {found}. Separate columns by commas.")
            rows = [_row(values, reader.line_num, file) for values in reader if any(values.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedoodError(f"{file}: cannot be read as a table ({error.__class__.__name__}); expected a CSV file in UTF-8.") from error
    if not rows:
        raise MedoodError(f"{file}: the table has no rows; add one per image.")
    _check_together(rows, file)
    return rows


def _row(values: dict[str, str | None], line: int, file: Path) -> Row:
    cells = {name: (value or "").strip() for name, value in values.items() if name is not None and not isinstance(value, list)}
    if cells["label"] not in _LABELS:
        raise MedoodError(f"{file}:{line}: label {cells['label']!r}: expected 0 (normal), 1 (anomalous) or nothing.")
    if cells["part"] not in _PARTS:
        raise MedoodError(f"{file}:{line}: part {cells['part']!r}: expected train, val, test or nothing.")
    if not cells["path"] or not cells["group"]:
        raise MedoodError(f"{file}:{line}: path and group must not be empty; the group is a key of the patient.")
    mask = cells.get("mask")
    path = _inside(cells["path"], line, file)
    return Row(line, path, cells["group"], _LABELS[cells["label"]], cells["part"] or None, _inside(mask, line, file) if mask else None)


def _inside(text: str, line: int, file: Path) -> str:
    """A normal relative path with `/`."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or text[1:2] == ":":
        raise MedoodError(f"{file}:{line}: {text}: expected a path relative to the source's root, without `..`.")
    return path.as_posix()


def _check_together(rows: list[Row], file: Path) -> None:
    lines: dict[str, int] = {}
    parts: dict[str, Row] = {}
    for row in rows:
        if row.path in lines:
            raise MedoodError(f"{file}:{row.line}: {row.path} stands in line {lines[row.path]} already; keep one of the two rows.")
        lines[row.path] = row.line
        first = parts.setdefault(row.group, row)
        if first.part != row.part:
            found = f"{first.part or 'no part'} in line {first.line} and {row.part or 'no part'} here"
            raise MedoodError(f"{file}:{row.line}: a group must not be in two parts; this row's group is in {found}.")
