"""Tables as text for a terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from medood.export.table_model import Block, Number, Printed, Row, Table, best_cells, decimal, measured, printed

__all__ = [
    "Block",
    "Number",
    "Row",
    "Table",
    "as_csv",
    "as_latex",
    "as_markdown",
    "as_text",
    "decimal",
    "latex_text",
    "markdown_text",
]

_GAP = "  "
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a line break, LaTeX would take [ and * as arguments of \\
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "−": "$-$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def as_text(table: Table, width: int = 140) -> str:
    """Aligned columns. Nothing is cut: a table wider than `width` characters is continued below itself, between groups of columns where
    possible, and names and headings that do not fit on a line go on in the next."""
    best = best_cells(table)
    names = [row.name for block in table.blocks for row in block.rows]
    name_width = min(max(map(len, names), default=0), width // 2)
    room = width - name_width
    heads = [_wrapped(_headed(table, column), room - len(_GAP)) for column in range(len(table.columns))]
    cells = [_column(table, column, best) for column in range(len(table.columns))]
    widths = [max(map(len, [*head, *texts])) for head, texts in zip(heads, cells, strict=True)]
    for title, members in table.spans:
        widths[members[-1]] += max(0, min(len(title) + 2, room - len(_GAP)) - _room(members, widths)) if title else 0
    layout = _Layout(table, heads, cells, widths, name_width, width)
    panels = [layout.panel(columns) for columns in _folds(table, widths, room)]
    marked = ("* marks the best of our own rows in each block and column.",) if best else ()
    notes = [textwrap.fill(note, width, subsequent_indent=_GAP, break_on_hyphens=False) for note in (*marked, *table.notes)]
    return "\n".join([textwrap.fill(table.title, width), "", "\n\n".join(panels), "", *notes]) + "\n"


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, max(width, 1), subsequent_indent=indent) or [""]


def _column(table: Table, column: int, best: frozenset[tuple[int, int, int]]) -> list[str]:
    """The cells of a column from top to bottom, their pieces aligned below each other."""
    found = []
    for b, block in enumerate(table.blocks):
        for r, row in enumerate(block.rows):
            piece = printed(row.cells[column], table)
            mark = "*" if (b, r, column) in best else ""
            found.append((piece.value, piece.spread, mark, f" {piece.interval}" if piece.interval else ""))
    numeric = [len(pieces[0]) for pieces, cell in zip(found, _cells(table, column), strict=True) if not isinstance(cell, str)]
    value_width = max(numeric, default=0)
    spread_width, mark_width = (max((len(pieces[place]) for pieces in found), default=0) for place in (1, 2))
    return [f"{v.rjust(value_width)}{s.ljust(spread_width)}{m.ljust(mark_width)}{i}".rstrip() for v, s, m, i in found]


def _cells(table: Table, column: int) -> list[Number | str | None]:
    return [row.cells[column] for block in table.blocks for row in block.rows]


def _headed(table: Table, column: int) -> str:
    return f"{table.arrow(column)}{table.columns[column]}"


def _room(columns: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[column] for column in columns) + len(_GAP) * (len(columns) - 1)


def _folds(table: Table, widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns that fit beside each other; a group is cut only if it does not fit as a whole."""
    folds: list[list[int]] = [[]]
    for _, members in table.spans:
        fits = _room(members, widths) + len(_GAP) <= room
        for unit in [members] if fits else [(member,) for member in members]:
            if folds[-1] and _room([*folds[-1], *unit], widths) + len(_GAP) > room:
                folds.append([])
            folds[-1] += unit
    return folds


@dataclass(frozen=True)
class _Layout:
    """A table with the lines of its headings and the texts of its cells, both by column, and what room they take."""

    table: Table
    heads: Sequence[Sequence[str]]
    cells: Sequence[Sequence[str]]
    widths: Sequence[int]
    name_width: int
    width: int

    def panel(self, columns: Sequence[int]) -> str:
        """The rows of the table with some of its columns."""
        rule = "-" * (self.name_width + _room(columns, self.widths) + len(_GAP))
        lines, at = [*self._over(columns), *self._heads(columns), rule], 0
        for number, block in enumerate(self.table.blocks):
            lines += [rule] if number else []
            lines += _wrapped(block.title, self.width) if block.title else []
            for row in block.rows:
                first, *more = _wrapped(row.name, self.name_width, _GAP)
                lines.append(_GAP.join([first.ljust(self.name_width), *(self.cells[c][at].ljust(self.widths[c]) for c in columns)]))
                lines += more
                at += 1
        return "\n".join(line.rstrip() for line in [*lines, rule])

    def _over(self, columns: Sequence[int]) -> list[str]:
        """Titles over the groups that are shown; the last line of each is drawn out to the room of its group."""
        groups = [(title, [c for c in members if c in columns]) for title, members in self.table.spans]
        shown = [
            (_wrapped(title, _room(members, self.widths) - 2) if title else [], _room(members, self.widths))
            for title, members in groups
            if members
        ]
        height = max((len(title) for title, _ in shown), default=0)
        lines = []
        for level in range(height):
            pieces = [" " * self.name_width]
            for title, room in shown:
                at = level - (height - len(title))
                fill = "-" if at == len(title) - 1 else " "
                pieces.append(f" {title[at]} ".center(room, fill) if title and at >= 0 else " " * room)
            lines.append(_GAP.join(pieces))
        return lines

    def _heads(self, columns: Sequence[int]) -> list[str]:
        height = max(len(self.heads[c]) for c in columns)
        padded = {c: [""] * (height - len(self.heads[c])) + list(self.heads[c]) for c in columns}
        start = " " * self.name_width
        return [_GAP.join([start, *(padded[c][level].ljust(self.widths[c]) for c in columns)]) for level in range(height)]


def as_markdown(table: Table) -> str:
    """A GitHub table: the best numbers bold, names of trivial features italic, titles of blocks in rows of their own."""
    best = best_cells(table)
    heads = [f"{head} {table.arrow(column)}".strip() for column, head in enumerate(table.headings)]
    lines = [_piped(["", *map(markdown_text, heads)]), "|" + "---|" * (len(heads) + 1)]
    for b, block in enumerate(table.blocks):
        if block.title:
            lines.append(_piped([f"**{markdown_text(block.title)}**", *[""] * len(heads)]))
        for r, row in enumerate(block.rows):
            name = f"*{markdown_text(row.name)}*" if row.kind == "trivial" else markdown_text(row.name)
            shown = [_marked_down(printed(cell, table), (b, r, c) in best) for c, cell in enumerate(row.cells)]
            lines.append(_piped([name, *shown]))
    marked = ("Bold: the best of our own rows in each block and column.",) if best else ()
    notes = [markdown_text(note) + "\n" for note in (*marked, *table.notes)]
    return "\n".join([f"**{markdown_text(table.title)}**", "", *lines, "", "\n".join(notes)])


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown_text(text: str) -> str:
    """Text in which Markdown finds nothing to interpret."""
    return re.sub(r"([\\`*_|<])", r"\\\1", text)


def _marked_down(cell: Printed, best: bool) -> str:
    number = f"{markdown_text(cell.value)}{cell.spread}"
    return f"**{number}** {cell.interval}".strip() if best else f"{number} {cell.interval}".strip()


def as_latex(table: Table) -> str:
    """A table environment for a document that loads booktabs: the best numbers bold, names of trivial features italic, notes below."""
    best = best_cells(table)
    columns = len(table.columns)
    spec = "l" + "".join("@{\\quad}" * bool(title) + "l" * span for title, span in table.groups)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}[tp]",
        "\\centering",
        f"\\caption{{{latex_text(table.title)}}}",
        f"\\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', table.name)}}}",
        "\\footnotesize",
        "\\setlength{\\tabcolsep}{3pt}",
        f"\\begin{{tabular}}{{{spec}}}",
        "\\toprule",
        *_latex_head(table),
    ]
    for b, block in enumerate(table.blocks):
        lines.append("\\midrule")
        if block.title:
            lines.append(f"\\multicolumn{{{columns + 1}}}{{l}}{{\\textbf{{{latex_text(block.title)}}}}} \\\\")
        for r, row in enumerate(block.rows):
            name = f"\\textit{{{latex_text(row.name)}}}" if row.kind == "trivial" else latex_text(row.name)
            shown = [_latex_cell(printed(cell, table), (b, r, c) in best) for c, cell in enumerate(row.cells)]
            lines.append(" & ".join([name, *shown]) + " \\\\")
    marked = ("Bold: the best of our own rows in each block and column.",) if best else ()
    notes = " \\par\n".join(map(latex_text, (*marked, *table.notes)))
    lines += ["\\bottomrule", "\\end{tabular}", "", "\\medskip"]
    lines += [f"\\begin{{minipage}}{{\\linewidth}}\\raggedright\n{notes}\n\\end{{minipage}}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_head(table: Table) -> list[str]:
    """Groups over a partial rule each, if any has a title, then the columns."""
    heads = [latex_text(_headed(table, column)) for column in range(len(table.columns))]
    lines = [" & ".join(["", *heads]).strip() + " \\\\"]
    if any(title for title, _ in table.groups):
        over = [f"\\multicolumn{{{span}}}{{c}}{{{latex_text(title)}}}" for title, span in table.groups]
        rules = [f"\\cmidrule(lr){{{members[0] + 2}-{members[-1] + 2}}}" for title, members in table.spans if title]
        lines = [" & ".join(["", *over]).strip() + " \\\\", " ".join(rules), *lines]
    return lines


def latex_text(text: str) -> str:
    """Text in which LaTeX finds nothing to interpret."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(cell: Printed, best: bool) -> str:
    number, interval = latex_text(cell.value + cell.spread), cell.interval.replace("−", _LATEX["−"])
    return f"\\textbf{{{number}}} {interval}".strip() if best else f"{number} {interval}".strip()


def as_csv(table: Table) -> str:
    """One line per row: block, row, kind, then six fields per column, with the full precision of the numbers; missing ones are empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    fields = ("value", "95% low", "95% high", "sd", "lowest seed", "highest seed")
    writer.writerow(["block", "row", "kind", *(f"{head} {field}" for head in table.headings for field in fields)])
    for block in table.blocks:
        for row in block.rows:
            numbers = [text for cell in row.cells for text in _csv_fields(cell)]
            writer.writerow([block.title, row.name, row.kind, *numbers])
    return file.getvalue()


def _csv_fields(cell: Number | str | None) -> list[str]:
    if isinstance(cell, str):
        return [cell, *[""] * 5]
    if cell is None or not measured(cell):
        return [""] * 6
    *numbers, seeds = astuple(cell)
    return ["" if number is None or not math.isfinite(number) else repr(float(number)) for number in (*numbers, *(seeds or (None, None)))]
