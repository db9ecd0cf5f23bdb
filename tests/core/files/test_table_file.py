"""Tables as spreadsheets of every system save them, and their mistakes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from medood.core.errors import TableError
from medood.core.files.table_file import csv_line, is_below, plain_path, read_cells, read_table, unguarded

_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")


def _written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(("encoding", "end", "separator"), list(itertools.product(_ENCODINGS, ("\n", "\r\n", "\r"), ",;\t")))
def test_whatever_a_spreadsheet_saves_is_read(tmp_path: Path, encoding: str, end: str, separator: str) -> None:
    lines = ("Path,GROUP , label", "Schädel 1.png, 7 ,1", "", '"a,b;c\td.png",8,', "last.png")
    text = end.join(line if line.startswith('"') else line.replace(",", separator) for line in lines)
    text = text.replace('",8,', f'"{separator}8{separator}')
    rows = read_table(_written(tmp_path, text.encode(encoding)), ("path", "label"))
    assert [(row.line, row["path"], row["Group"], row["label"]) for row in rows] == [
        (2, "Schädel 1.png", "7", "1"),
        (4, "a,b;c\td.png", "8", ""),
        (5, "last.png", "", ""),
    ]


def test_excel_may_name_the_separator(tmp_path: Path) -> None:
    (row,) = read_table(_written(tmp_path, "sep=;\r\npath;a,b,c,d\r\nx.png;1\r\n"), ("path",))
    assert (row.line, row["path"], row["a,b,c,d"]) == (3, "x.png", "1")


def test_a_separator_within_the_quotes_of_the_header_does_not_count(tmp_path: Path) -> None:
    (row,) = read_table(_written(tmp_path, 'path;"size; rows, columns, mm, other"\nx.png;1\n'), ("path",))
    assert row["size; rows, columns, mm, other"] == "1"


def test_cells_over_several_lines_keep_the_count(tmp_path: Path) -> None:
    rows = read_table(_written(tmp_path, 'path,note\na,"one\ntwo\r\nthree"\nb,x\n'), ("path",))
    assert [(row.line, row["path"]) for row in rows] == [(2, "a"), (5, "b")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the columns id, label are missing; found nothing. Do this."),
        (b"\n\n \n", "found nothing"),
        (b"id\n", "the column label is missing; found id. Do this."),
        (
            b"id\r,label\r\n1\r,0\r\n",
            "the column label is missing; found id. A carriage return ends the header before ',label': "
            "save the table with one kind of line ends. Do this.",
        ),
        (b"id,label,ID\na,1,b\n", "the column id is there twice"),
        (b"id,label\na,1\nb,1,x\nc,0,,\nd,1,y,z\n", r"table\.csv:3: 3 cells where the header has 2.*\n.*table\.csv:5: 4 cells"),
        (b"id,label\na,1\n\xff,1\n", r"table\.csv:3: not text in UTF-8 or UTF-16"),
        (b"id,label\na\0,1\n", "not a text file"),
        (b"\xff\xfei", "not text in UTF-8 or UTF-16"),
        (b"id,label\n" + b"x" * 200_000 + b",1\n", r"table\.csv:2: cannot be read as a row"),
        (b'id,label\na,1\n"b,1\nc,1\n', r"table\.csv:3: cannot be read as a row .* check the quotes"),
    ],
)
def test_what_is_no_such_table_is_said_with_its_line(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(TableError, match=says):
        read_table(_written(tmp_path, content), ("id", "label"), hint="Do this.")


def test_a_table_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.csv"):
        with pytest.raises(TableError, match=f"{path.name}: cannot be opened"):
            read_cells(path)


def test_many_mistakes_are_counted(tmp_path: Path) -> None:
    text = "id\n" + "a,b\n" * 50
    with pytest.raises(TableError, match="and 30 more mistakes") as caught:
        read_table(_written(tmp_path, text), ("id",))
    assert len(caught.value.problems) == 50


@pytest.mark.parametrize("cell", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "a;b\tc", "=1+1", "-x", "'=x", "@", "plain", "ü", ""])
def test_what_is_written_is_read_back(tmp_path: Path, cell: str) -> None:
    line = csv_line(("first", cell, 0.1, -2.5, 3))
    assert line.endswith("\n")
    cells = read_cells(_written(tmp_path, line))[0][1]
    assert unguarded(cells[1]) == cell
    assert not cells[1].startswith(("=", "-", "@"))
    assert [float(number) for number in cells[2:]] == [0.1, -2.5, 3]


def test_one_path_has_one_spelling() -> None:
    spellings = ["./a//b/é.png", "a\\b\\e\u0301.png", "a/b/é.png/", "a/./b/é.png"]
    assert {plain_path(spelling) for spelling in spellings} == {"a/b/é.png"}
    assert plain_path("a\udcff.png") == plain_path("a\\udcff.png"), "as scores.csv spells a name that is no Unicode"


@pytest.mark.parametrize("path", ["../a", "a/../b", "/a", "\\a", "C:\\a", "c:/a"])
def test_paths_that_lead_out_are_known(path: str) -> None:
    assert not is_below(plain_path(path))
    assert is_below(plain_path("a/..b/c..png"))
