"""The table that says which images a study is made of: a CSV file with one row per image or series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medood.core.errors import MedoodError
from medood.core.files import table_file
from medood.core.files.table_file import Mistakes, is_below, mistakes_of, plain_path

_COLUMNS = ("path", "group", "label", "part")
LABELS = {"": None, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
PARTS = ("", "train", "val", "test")


@dataclass(frozen=True)
class Row:
    """One row; `line` is its line in the file and paths are relative to the root, as `plain_path` spells them."""

    line: int
    path: str
    group: str
    label: int | None
    part: str | None
    mask: str | None
    class_name: str | None


def table_below(root: Path, name: str) -> Path:
    """The file of a table that lies below `root`. Raises MedoodError when it does not, or is not there."""
    if not is_below(plain_path(name)):
        raise MedoodError(f"The table {name}: expected its path below {root}, relative and without `..`; put it there.")
    file = root / name
    if not file.is_file():
        raise MedoodError(f"{file}: there is no such table; put it below the folder of the images, or name another.")
    if not file.resolve().is_relative_to(root.resolve()):
        raise MedoodError(f"{file}: a link that leads out of {root}; put the table itself below the folder.")
    return file


def read_table(file: Path) -> list[Row]:
    """The rows of a table with the columns path, group, label, part and, if wanted, mask and class; other columns are ignored.

    label is 0 normal, 1 anomalous or empty; part is train, val, test or empty. Raises TableError with every mistake and its line: an
    unknown value, a path named twice or leading out of the root, a group in two parts.
    """
    with mistakes_of(file) as mistakes:
        found = table_file.read_table(file, _COLUMNS, hint="One row per image, with its path, patient, label and part.")
        if not found:
            raise MedoodError(f"{file}: the table has no rows; add one per image.")
        rows = [row for each in found if (row := _row(each, mistakes))]
        _check_together(rows, mistakes)
    return rows


def _row(row: table_file.Row, mistakes: Mistakes) -> Row | None:
    """None after a mistake."""
    before = len(mistakes.found)
    if row["label"] not in LABELS:
        mistakes.add(row.line, f"label {row['label']!r}: expected 0 (normal), 1 (anomalous) or nothing.")
    if row["part"].lower() not in PARTS:
        mistakes.add(row.line, f"part {row['part']!r}: expected train, val, test or nothing.")
    if not row["path"] or not row["group"]:
        mistakes.add(row.line, "path and group must not be empty; the group is a key of the patient.")
    for column in ("path", "mask"):
        if not is_below(plain_path(row[column])):
            mistakes.add(row.line, f"{row[column]}: expected a path relative to the source's root, without `..`.")
    if len(mistakes.found) > before:
        return None
    label, part, mask = LABELS[row["label"]], row["part"].lower() or None, plain_path(row["mask"]) or None
    return Row(row.line, plain_path(row["path"]), row["group"], label, part, mask, row["class"] or None)


def _check_together(rows: list[Row], mistakes: Mistakes) -> None:
    lines: dict[str, int] = {}
    parts: dict[str, Row] = {}
    for row in rows:
        if row.path in lines:
            mistakes.add(row.line, f"{row.path} stands in line {lines[row.path]} already; keep one of the two rows.")
        lines.setdefault(row.path, row.line)
        first = parts.setdefault(row.group, row)
        if first.part != row.part:
            found = f"{first.part or 'no part'} in line {first.line} and {row.part or 'no part'} here"
            mistakes.add(row.line, f"a group must not be in two parts; this row's group is in {found}.")
