"""Tables as text for a terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import astuple

from medood.export.table_model import Block, Number, Printed, Row, Table, best_cells, decimal, measured, printed

__all__ = ["Block", "Number", "Row", "Table", "as_csv", "as_latex", "as_markdown", "as_text", "decimal"]

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
    """Aligned columns; a table wider than `width` characters is continued below itself, between groups of columns where possible."""
    best = best_cells(table)
    names = [row.name for block in table.blocks for row in block.rows]
    name_width = max(map(len, names), default=0)
    cells = [_column(table, column, best) for column in range(len(table.columns))]
    widths = [max(len(text) for text in [_headed(table, column), *texts]) for column, texts in enumerate(cells)]
    for title, members in table.spans:
        widths[members[-1]] += max(0, len(title) + 2 - _room(members, widths)) if title else 0
    panels = [_panel(table, columns, cells, widths, name_width) for columns in _folds(table, widths, width - name_width)]
    marked = ("* marks the best of our own rows in each block and column.",) if best else ()
    notes = [textwrap.fill(note, width, subsequent_indent=_GAP, break_on_hyphens=False) for note in (*marked, *table.notes)]
    return "\n".join([textwrap.fill(table.title, width), "", "\n\n".join(panels), "", *notes]) + "\n"


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


def _panel(table: Table, columns: Sequence[int], cells: Sequence[Sequence[str]], widths: Sequence[int], name_width: int) -> str:
    """The rows of the table with some of its columns."""
    start = " " * name_width
    groups = [(title, shown) for title, members in table.spans if (shown := [c for c in members if c in columns])]
    over = [f" {title} ".center(_room(shown, widths), "-") if title else " " * _room(shown, widths) for title, shown in groups]
    heads = _GAP.join([start, *(_headed(table, column).ljust(widths[column]) for column in columns)])
    rule = "-" * (name_width + _room(columns, widths) + len(_GAP))
    lines = [_GAP.join([start, *over])] if any(title for title, _ in groups) else []
    lines += [heads, rule]
    at = 0
    for number, block in enumerate(table.blocks):
        lines += [rule] if number else []
        lines += [block.title] if block.title else []
        for row in block.rows:
            lines.append(_GAP.join([row.name.ljust(name_width), *(cells[column][at].ljust(widths[column]) for column in columns)]))
            at += 1
    return "\n".join(line.rstrip() for line in [*lines, rule])


def as_markdown(table: Table) -> str:
    """A GitHub table: the best numbers bold, names of trivial features italic, titles of blocks in rows of their own."""
    best = best_cells(table)
    heads = [f"{head} {table.arrow(column)}".strip() for column, head in enumerate(table.headings)]
    lines = [_piped(["", *map(_plain, heads)]), "|" + "---|" * (len(heads) + 1)]
    for b, block in enumerate(table.blocks):
        if block.title:
            lines.append(_piped([f"**{_plain(block.title)}**", *[""] * len(heads)]))
        for r, row in enumerate(block.rows):
            name = f"*{_plain(row.name)}*" if row.kind == "trivial" else _plain(row.name)
            shown = [_marked_down(printed(cell, table), (b, r, c) in best) for c, cell in enumerate(row.cells)]
            lines.append(_piped([name, *shown]))
    marked = ("Bold: the best of our own rows in each block and column.",) if best else ()
    notes = [_plain(note) + "\n" for note in (*marked, *table.notes)]
    return "\n".join([f"**{_plain(table.title)}**", "", *lines, "", "\n".join(notes)])


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to interpret."""
    return re.sub(r"([\\`*_|<])", r"\\\1", text)


def _marked_down(cell: Printed, best: bool) -> str:
    number = f"{_plain(cell.value)}{cell.spread}"
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
        f"\\caption{{{_escaped(table.title)}}}",
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
            lines.append(f"\\multicolumn{{{columns + 1}}}{{l}}{{\\textbf{{{_escaped(block.title)}}}}} \\\\")
        for r, row in enumerate(block.rows):
            name = f"\\textit{{{_escaped(row.name)}}}" if row.kind == "trivial" else _escaped(row.name)
            shown = [_latex_cell(printed(cell, table), (b, r, c) in best) for c, cell in enumerate(row.cells)]
            lines.append(" & ".join([name, *shown]) + " \\\\")
    marked = ("Bold: the best of our own rows in each block and column.",) if best else ()
    notes = " \\par\n".join(map(_escaped, (*marked, *table.notes)))
    lines += ["\\bottomrule", "\\end{tabular}", "", "\\medskip"]
    lines += [f"\\begin{{minipage}}{{\\linewidth}}\\raggedright\n{notes}\n\\end{{minipage}}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_head(table: Table) -> list[str]:
    """Groups over a partial rule each, if any has a title, then the columns."""
    heads = [_escaped(_headed(table, column)) for column in range(len(table.columns))]
    lines = [" & ".join(["", *heads]).strip() + " \\\\"]
    if any(title for title, _ in table.groups):
        over = [f"\\multicolumn{{{span}}}{{c}}{{{_escaped(title)}}}" for title, span in table.groups]
        rules = [f"\\cmidrule(lr){{{members[0] + 2}-{members[-1] + 2}}}" for title, members in table.spans if title]
        lines = [" & ".join(["", *over]).strip() + " \\\\", " ".join(rules), *lines]
    return lines


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(cell: Printed, best: bool) -> str:
    number, interval = _escaped(cell.value + cell.spread), cell.interval.replace("−", _LATEX["−"])
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
