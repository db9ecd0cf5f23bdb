"""A table of measured numbers, and which of them are best; medood.export.tables prints it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeGuard

MISSING = "–"

Better = Literal["high", "low"]
"""Which numbers of a column are the better ones."""


@dataclass(frozen=True)
class Number:
    """A measured number in a cell.

    low, high  95 % interval, in brackets
    spread     standard deviation, after ±
    seeds      lowest and highest value among the seeds; in the CSV only
    """

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    seeds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """`cells` has one entry per column: a number, a text, or None where a number is missing."""

    name: str
    cells: tuple[Number | str | None, ...]
    kind: Literal["ours", "hindsight", "published", "trivial"] = "ours"


@dataclass(frozen=True)
class Block:
    """Rows that a rule sets apart, under a title if it is not empty."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """Numbers in rows and columns.

    name       stem of its files and of its LaTeX label
    groups     headings over the columns from left to right, each with the number of columns below it
    best       per column, whether high or low numbers are better; None: the best is not marked
    intervals, spreads  whether brackets and ± are printed; the CSV has both in any case

    Raises ValueError when groups, columns, `best` and cells do not fit together, or when two columns have the same headings.
    """

    name: str
    title: str
    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    best: tuple[Better | None, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    intervals: bool = True
    spreads: bool = True

    def __post_init__(self) -> None:
        counts = {sum(span for _, span in self.groups), len(self.columns), len(self.best)}
        counts |= {len(row.cells) for block in self.blocks for row in block.rows}
        if len(counts) > 1:
            raise ValueError(f"table {self.name}: groups, columns, best and cells of a row differ in number: {sorted(counts)}")
        if len(set(self.headings)) < len(self.columns):
            raise ValueError(f"table {self.name}: two columns have the same headings")

    @property
    def headings(self) -> tuple[str, ...]:
        """Group and column of every column, in one text."""
        groups = [title for title, span in self.groups for _ in range(span)]
        return tuple(f"{group} {column}".strip() for group, column in zip(groups, self.columns, strict=True))

    @property
    def spans(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The groups with the positions of their columns."""
        found, start = [], 0
        for title, span in self.groups:
            found.append((title, tuple(range(start, start + span))))
            start += span
        return tuple(found)

    def arrow(self, column: int) -> str:
        """Which way is better, for the heading; nothing in a table where all columns point the same way."""
        directions = set(self.best) - {None}
        return {"high": "↑", "low": "↓", None: ""}[self.best[column]] if len(directions) > 1 else ""


def best_cells(table: Table) -> frozenset[tuple[int, int, int]]:
    """(block, row, column) of the best of our own numbers in each block and column with at least two of them.

    Numbers that are printed alike are equally good.
    """
    found = set()
    for b, block in enumerate(table.blocks):
        for c, direction in enumerate(table.best):
            own = [row.cells[c] if row.kind == "ours" else None for row in block.rows]
            values = {r: round(cell.value, 3) for r, cell in enumerate(own) if measured(cell)}
            if direction and len(values) > 1:
                best = max(values.values()) if direction == "high" else min(values.values())
                found |= {(b, r, c) for r, value in values.items() if value == best}
    return frozenset(found)


def measured(cell: Number | str | None) -> TypeGuard[Number]:
    """Whether a cell holds a number that can be printed."""
    return isinstance(cell, Number) and math.isfinite(cell.value)


def decimal(value: float) -> str:
    """.741: three decimals, no zero before the point, and a minus sign where there is one."""
    size = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(size) else ""
    return sign + (size[1:] if size.startswith("0.") else size)


@dataclass(frozen=True)
class Printed:
    """The pieces of a cell; `interval` and `spread` are empty where there is none."""

    value: str
    spread: str = ""
    interval: str = ""


def printed(cell: Number | str | None, table: Table) -> Printed:
    """A cell as text: .741, ±.004 and [.484, .948]."""
    if isinstance(cell, str):
        return Printed(cell)
    if not measured(cell):
        return Printed(MISSING)
    spread = f"±{decimal(cell.spread)}" if table.spreads and _finite(cell.spread) else ""
    interval = ""
    if table.intervals and _finite(cell.low) and _finite(cell.high):
        interval = f"[{decimal(cell.low)}, {decimal(cell.high)}]"
    return Printed(decimal(cell.value), spread, interval)


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
