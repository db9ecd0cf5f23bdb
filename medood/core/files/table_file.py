"""Tables that people and publishers write: one reader for whatever spreadsheets save, and all mistakes of a table told at once."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medood.core.errors import TableError
from medood.core.files.parquet_file import is_parquet, read_parquet

_SEPARATORS = ",;\t"
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Row:
    """Cells without spaces around them by the column's name in small letters; `line` is the row's line in the file, from 1."""

    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        """Empty when the row or the table has no such cell."""
        return self.cells.get(column.lower(), "")


class Mistakes:
    """What is wrong with a table, collected row by row and raised together."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: list[str] = []

    def add(self, line: int, what: str) -> None:
        self.found.append(f"{self.file}:{line}: {what}")

    def check(self) -> None:
        """Raises TableError with all that was found."""
        if self.found:
            raise TableError(self.found)


@contextmanager
def mistakes_of(file: Path) -> Iterator[Mistakes]:
    """Collects mistakes in a block and raises them at its end."""
    mistakes = Mistakes(file)
    yield mistakes
    mistakes.check()


def read_table(file: Path, needed: Sequence[str], *, hint: str = "") -> list[Row]:
    """The rows of a table with a header line, empty rows left out.

    Columns are separated by commas, semicolons or tabs, lines end in any way, the text is UTF-8 or UTF-16, with a byte-order mark or
    without; capitals in the names of columns do not count, and neither do columns that nobody asks for. Raises TableError, with `hint` at
    its end, when the file is no such table, a `needed` column is missing or there twice, or a row has more cells than there are columns.
    """
    lines = read_cells(file)
    names = [name.lower() for name in lines[0][1]] if lines else []
    missing = [name for name in needed if name.lower() not in names]
    if missing:
        found = ", ".join(lines[0][1]) if lines else "nothing"
        what = f"the column {missing[0]} is" if len(missing) == 1 else f"the columns {', '.join(missing)} are"
        raise TableError([f"{file}: {what} missing; found {found}. {_where_header_breaks(file)}{hint}".rstrip()])
    twice = [name for name in needed if names.count(name.lower()) > 1]
    if twice:
        raise TableError([f"{file}: the column {twice[0]} is there twice; keep one of the two."])
    with mistakes_of(file) as mistakes:
        for line, cells in lines[1:]:
            if any(cells[len(names) :]):
                mistakes.add(line, f"{len(cells)} cells where the header has {len(names)}; put quotes around text that holds a separator.")
    return [Row(line, dict(zip(names, cells, strict=False))) for line, cells in lines[1:]]


def read_cells(file: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every row that is not empty, the header among them. Raises TableError when it cannot be read.

    Those of a Parquet file, by the ending of its name, are as in a CSV of the same table.
    """
    if is_parquet(file):
        return [
            (line, ["" if cell is None else str(_guarded(cell)).strip() for cell in row]) for line, row in enumerate(read_parquet(file), 1)
        ]
    text = _text(file)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    rows: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped) and not (start == 1 and _names_separator(text)):
                rows.append((start, stripped))
            start = reader.line_num + 1
    except csv.Error as error:
        raise TableError([f"{file}:{start}: cannot be read as a row of a table ({error}); check the quotes."]) from error
    return rows


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TableError([f"{file}: cannot be opened ({error.strerror}); check the path and its permissions."]) from error
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), None) or _unmarked(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TableError([f"{file}:{line}: not text in UTF-8 or UTF-16; save the table as CSV in UTF-8."]) from error
    if "\0" in text:
        raise TableError([f"{file}: not a text file; save the table as CSV in UTF-8."])
    return text


def _where_header_breaks(file: Path) -> str:
    """A sentence, if a carriage return ends the header in the middle of its line, as when a column was added to a file from Windows."""
    header, more, _ = ("" if is_parquet(file) else _text(file)).partition("\n")
    _, cut, rest = header.rstrip("\r").rpartition("\r")
    return f"A carriage return ends the header before {rest!r}: save the table with one kind of line ends. " if cut and more else ""


def _unmarked(content: bytes) -> str:
    """UTF-16 without a mark gives itself away: the header's letters have a zero beside each."""
    start = content[:64]
    if len(start) >= 4 and not any(start[1::2]):
        return "utf-16-le"
    return "utf-16-be" if len(start) >= 4 and not any(start[0::2]) else "utf-8"


def _separator(text: str) -> str:
    """What stands between columns most often in the first line, outside quotes."""
    if _names_separator(text):
        return text[4]
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(_SEPARATORS, key="".join(first.split('"')[::2]).count)


def _names_separator(text: str) -> bool:
    """Excel may put `sep=;` into a line of its own, above the header."""
    return text[:4].lower() == "sep=" and text[5:6] in ("\r", "\n")


def plain_path(text: str) -> str:
    """The one spelling of a relative path: `/` between its parts, no `./`, letters with accents composed (NFC).

    macOS takes accents apart and Windows turns slashes round; what is no Unicode at all is spelled out as tables hold it.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return unicodedata.normalize("NFC", ("/" if text.startswith("/") else "") + "/".join(parts))


def is_below(path: str) -> bool:
    """Whether a path as `plain_path` spells it is relative and stays below the folder it starts from."""
    return not path.startswith("/") and ".." not in path.split("/") and path[1:2] != ":"


def csv_line(cells: Iterable[Any]) -> str:
    """A row to write, its `\\n` included. Text that a spreadsheet would run as a formula gets an apostrophe; numbers read back exactly."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow([_guarded(cell) for cell in cells])  # the default's `\r\n` makes it quote a `\r` within a cell
    return text.getvalue()[:-2] + "\n"


def unguarded(text: str) -> str:
    """A cell without the apostrophe of `csv_line`."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def _guarded(cell: Any) -> Any:
    if isinstance(cell, float):
        return repr(cell)
    if isinstance(cell, str) and cell.lstrip("'").startswith(_FORMULA) and not _is_number(cell):
        return f"'{cell}"
    return cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
