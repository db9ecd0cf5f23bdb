"""scores.parquet: while it is being made a CSV beside it, valid after a crash as that is; at the end a Parquet file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from medood.core.files.atomic import atomic_file
from medood.core.files.parquet_file import is_parquet, read_parquet, write_parquet
from medood.core.files.table_file import csv_line, unguarded

_NUMBERS = ("score", "p_value", "domain_p", "examined")


def table_in_work(out: Path) -> Path:
    """The CSV that rows are appended to: `out`, or a hidden file beside it that becomes a Parquet `out`."""
    return out.with_name(f".{out.name}.csv") if is_parquet(out) else out


def continue_parquet(out: Path) -> None:
    """Let a finished Parquet `out` be gone on with, as a CSV."""
    table = table_in_work(out)
    if not is_parquet(out) or table.exists() or not out.exists():
        return
    with atomic_file(table) as part, part.open("w", encoding="utf-8", newline="") as file:
        for cells in read_parquet(out):
            file.write(csv_line("" if cell is None else cell for cell in cells))


def finish_parquet(out: Path, columns: Sequence[str]) -> None:
    """Make a Parquet `out` of the CSV, which goes."""
    if is_parquet(out):
        write_parquet(out, {name: _kind(name) for name in columns}, _rows(table_in_work(out)))
        table_in_work(out).unlink()


def _kind(column: str) -> type:
    if column == "slice":
        return int
    return float if column in _NUMBERS or column.startswith(("part_", "plain_")) else str


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: unguarded(cell) for name, cell in row.items()}
