"""Tables as text, Markdown, LaTeX and CSV: which number lands where, which one is marked, and what is escaped."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from medood.export.table_model import best_cells
from medood.export.tables import Block, Number, Row, Table, as_csv, as_latex, as_markdown, as_text, decimal


def cells(*values: float) -> tuple[Number, ...]:
    return tuple(Number(value) for value in values)


def table(*blocks: Block, best: tuple[str | None, ...] = ("low", "high"), **more: object) -> Table:
    return Table("rates", "Rates", (("RSNA", 2),), ("FPR", "AUC"), best, blocks, **more)


FULL = table(
    Block(
        "One",
        (
            Row("AE", (Number(0.3184, spread=0.0144), Number(0.74149, 0.4836, 0.9484, 0.0041))),
            Row("AE, published", (Number(0.1), Number(0.999)), "published"),
            Row("CVAD", (Number(0.3179, spread=0.02), None)),
            Row("VAE", (Number(0.5), Number(0.6))),
        ),
    ),
    Block("Trivial features", (Row("sharpness (lower)", (Number(0.05), Number(1.0)), "trivial"),)),
    notes=("All of it.",),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7414, ".741"),
        (0.9996, "1.000"),
        (1.0, "1.000"),
        (0.0, ".000"),
        (-0.0004, ".000"),
        (-0.0126, "−.013"),
        (-1.5, "−1.500"),
        (10.5, "10.500"),
    ],
)
def test_three_decimals_without_a_leading_zero(value: float, text: str) -> None:
    assert decimal(value) == text


def test_best_is_the_lowest_where_low_is_better_and_only_among_our_own() -> None:
    # .3184 and .3179 are both printed .318; published and trivial numbers are better but not ours
    assert best_cells(FULL) == {(0, 0, 0), (0, 2, 0), (0, 0, 1)}


def test_best_of_each_block_for_itself_and_none_of_a_lonely_number() -> None:
    pair = Block("a", (Row("x", cells(0.1, 0.2)), Row("y", cells(0.3, 0.4))))
    assert best_cells(table(pair, Block("b", (Row("z", cells(0.0, 0.9)),)))) == {(0, 0, 0), (0, 1, 1)}
    assert best_cells(table(pair, best=(None, "high"))) == {(0, 1, 1)}


def test_best_passes_over_what_is_not_a_number() -> None:
    rows = (Row("x", (Number(math.nan), "failed")), Row("y", cells(0.3, 0.4)), Row("z", cells(0.2, 0.3)))
    assert best_cells(table(Block("", rows))) == {(0, 2, 0), (0, 1, 1)}


def test_text_in_full() -> None:
    assert (
        as_text(FULL)
        == """Rates

                   --------------- RSNA ---------------
                   ↓FPR        ↑AUC
-------------------------------------------------------
One
AE                 .318±.014*   .741±.004* [.484, .948]
AE, published      .100         .999
CVAD               .318±.020*      –
VAE                .500         .600
-------------------------------------------------------
Trivial features
sharpness (lower)  .050        1.000
-------------------------------------------------------

* marks the best of our own rows in each block and column.
All of it.
"""
    )


def test_intervals_and_spreads_are_printed_only_where_the_table_says_so() -> None:
    assert ".741±.004*\n" in as_text(replace(FULL, intervals=False))
    assert ".741* [.484, .948]\n" in as_text(replace(FULL, spreads=False))
    assert as_csv(replace(FULL, intervals=False, spreads=False)) == as_csv(FULL)


def wide(groups: int, span: int) -> Table:
    columns = tuple(f"c{g}{c}" for g in range(groups) for c in range(span))
    row = Row("a rather long name", tuple(Number((at + 1) / 100, 0.0, 1.0, 0.001) for at in range(groups * span)))
    heads = tuple((f"group{g}", span) for g in range(groups))
    return Table("wide", "Wide", heads, columns, (None,) * len(columns), (Block("block", (row,)),), ("note " * 60,))


@pytest.mark.parametrize(("groups", "span", "panels"), [(4, 2, 2), (1, 8, 2), (6, 1, 2), (2, 2, 1)])
def test_a_wide_table_is_continued_below_itself_with_every_number_once(groups: int, span: int, panels: int) -> None:
    text = as_text(wide(groups, span), width=128)
    assert max(map(len, text.splitlines())) <= 128
    assert text.count("a rather long name") == text.count("block\n") == panels
    for at in range(groups * span):
        assert text.count(f".{at + 1:02d}0±.001 [.000, 1.000]") == 1


def test_a_group_of_columns_is_kept_together_where_it_fits() -> None:
    panels = as_text(wide(3, 2), width=128).split("\n\n")[1:3]
    assert [sorted(set(re.findall(r"group\d", panel))) for panel in panels] == [["group0", "group1"], ["group2"]]


def test_columns_of_the_text_stand_below_their_headings() -> None:
    lines = as_text(wide(2, 2), width=140).splitlines()
    heads, row = lines[3], next(line for line in lines if line.startswith("a rather"))
    assert [row[heads.index(f"c{g}{c}") :][:4] for g in range(2) for c in range(2)] == [".010", ".020", ".030", ".040"]


def test_a_heading_wider_than_its_columns_makes_room() -> None:
    narrow = Table(
        "t", "T", (("a very long cohort name", 1), ("b", 1)), ("x", "y"), (None, None), (Block("", (Row("r", cells(0.1, 0.2)),)),)
    )
    lines = as_text(narrow).splitlines()
    assert " a very long cohort name " in lines[2]
    assert lines[3].index("y") > lines[2].index("name")


def test_markdown_in_full() -> None:
    assert (
        as_markdown(FULL)
        == """**Rates**

|  | RSNA FPR ↓ | RSNA AUC ↑ |
|---|---|---|
| **One** |  |  |
| AE | **.318±.014** | **.741±.004** [.484, .948] |
| AE, published | .100 | .999 |
| CVAD | **.318±.020** | – |
| VAE | .500 | .600 |
| **Trivial features** |  |  |
| *sharpness (lower)* | .050 | 1.000 |

Bold: the best of our own rows in each block and column.

All of it.
"""
    )


def test_markdown_escapes_what_it_would_interpret() -> None:
    text = as_markdown(table(Block("", (Row("a|b_c*d", ("x|y", None)),))))
    assert "| a\\|b\\_c\\*d | x\\|y | – |" in text


AWKWARD = table(
    Block("R&D_1 {50 %}", (Row("[a] & b_c", ("$5 #1", Number(-0.25, -0.5, 0.1))), Row("*x~y^z\\w<v>", cells(0.1, 0.2)))),
    notes=("100 % & more_",),
)


def test_latex_escapes_what_it_would_interpret() -> None:
    text = as_latex(AWKWARD)
    assert r"\multicolumn{3}{l}{\textbf{R\&D\_1 \{50 \%\}}} \\" in text
    assert r"{[}a{]} \& b\_c & \$5 \#1 & $-$.250 [$-$.500, .100] \\" in text
    assert r"{*}x\textasciitilde{}y\textasciicircum{}z\textbackslash{}w\textless{}v\textgreater{} & .100 & \textbf{.200}" in text
    assert r"100 \% \& more\_" in text


def latex_columns(line: str) -> int:
    """How many columns a line of a tabular fills, \\multicolumn counted with its span."""
    fields = re.split(r"(?<!\\)&", line)
    return sum(int(found.group(1)) if (found := re.match(r"\s*\\multicolumn\{(\d+)\}", field)) else 1 for field in fields)


@pytest.mark.parametrize("made", [FULL, AWKWARD, wide(3, 2), replace(wide(2, 1), groups=(("", 1), ("right", 1)))])
def test_latex_lines_fill_the_columns_and_braces_and_environments_close(made: Table) -> None:
    text = as_latex(made)
    spec = re.search(r"\\begin\{tabular\}\{(.*)\}\n", text)
    assert spec is not None
    columns = spec.group(1).replace("@{\\quad}", "").count("l")
    assert columns == len(made.columns) + 1
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 2 + sum(bool(block.title) + len(block.rows) for block in made.blocks)
    assert {latex_columns(line) for line in lines} == {columns}
    bare = re.sub(r"\\[\\{}%]", "", text.split("\n", 1)[1])
    depth = [1 if sign == "{" else -1 for sign in bare if sign in "{}"]
    assert sum(depth) == 0
    assert min(np.cumsum(depth)) >= 0
    assert "%" not in bare
    assert text.isascii()
    opened = re.findall(r"\\(begin|end)\{(\w+)\}", text)
    assert opened == [
        *(("begin", "table"), ("begin", "tabular"), ("end", "tabular")),
        *(("begin", "minipage"), ("end", "minipage"), ("end", "table")),
    ]


def test_latex_marks_the_best_groups_the_columns_and_sets_trivial_names_in_italics() -> None:
    text = as_latex(FULL)
    assert r"AE & \textbf{.318$\pm$.014} & \textbf{.741$\pm$.004} [.484, .948] \\" in text
    assert r"CVAD & \textbf{.318$\pm$.020} & -- \\" in text
    assert r"\textit{sharpness (lower)} & .050 & 1.000 \\" in text
    assert "\\multicolumn{2}{c}{RSNA} \\\\\n\\cmidrule(lr){2-3}\n& $\\downarrow$FPR & $\\uparrow$AUC" in text


def test_csv_reads_back_with_full_precision() -> None:
    value = 0.1 + 0.2
    number = Number(np.float64(value), np.float64(1 / 3), math.nan, 0.01, seeds=(0.25, 0.35))
    rows = (Row('a, "b"', (number, None)), Row("c", ("failed", Number(math.nan))), Row("d", cells(0.5, 0.25), "trivial"))
    first, second, third = csv.DictReader(io.StringIO(as_csv(table(Block("R, S", rows)))))
    assert (first["block"], first["row"], first["kind"], third["kind"]) == ("R, S", 'a, "b"', "ours", "trivial")
    assert float(first["RSNA FPR value"]) == value
    assert float(first["RSNA FPR 95% low"]) == 1 / 3
    assert first["RSNA FPR 95% high"] == ""
    assert (first["RSNA FPR sd"], first["RSNA FPR lowest seed"], first["RSNA FPR highest seed"]) == ("0.01", "0.25", "0.35")
    assert {first[name] for name in first if name.startswith("RSNA AUC")} == {""}
    assert (second["RSNA FPR value"], second["RSNA AUC value"]) == ("failed", "")
    assert (third["RSNA FPR value"], third["RSNA AUC value"]) == ("0.5", "0.25")


def test_arrows_only_where_directions_differ() -> None:
    block = Block("", (Row("x", cells(0.1, 0.2)),))
    assert "↓FPR" in as_text(table(block))
    assert "↑" not in as_text(table(block, best=("high", "high")))


def test_a_table_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        table(Block("", (Row("x", cells(0.1)),)))
    with pytest.raises(ValueError, match="differ in number"):
        Table("t", "T", (("a", 3),), ("x", "y"), (None, None), ())
    with pytest.raises(ValueError, match="same headings"):
        Table("t", "T", (("a", 1), ("a", 1)), ("x", "x"), (None, None), ())
