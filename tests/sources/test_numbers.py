"""Tables of numbers, well made and not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medood.core.errors import TableError
from medood.sources.numbers import Numbers

GOOD = "group,label,part,class,area,roundness\nAnna,0,train,left,105.25,0.5\nBerta,1,test,,1e3,0.25\nAnna,0,train,left,90,0.75\n"


def numbers(folder: Path, text: str = GOOD, **parameters: object) -> Numbers:
    (folder / "table.csv").write_text(text, encoding="utf-8")
    return Numbers(folder, csv="table.csv", **parameters)


def test_a_row_is_a_case_with_its_numbers_and_what_the_table_says_of_it(tmp_path: Path) -> None:
    source = numbers(tmp_path)
    index = source.index()
    assert source.number_columns() == ("area", "roundness")
    assert [entry.id for entry in index.entries] == ["table.csv/000002", "table.csv/000003", "table.csv/000004"]
    assert [entry.group for entry in index.entries] == ["patient-0001", "patient-0002", "patient-0001"]
    assert [entry.label for entry in index.entries] == [0, 1, 0]
    assert [entry.part for entry in index.entries] == ["train", "test", "train"]
    assert [entry.class_name for entry in index.entries] == ["left", None, "left"]
    volume = source.read(index.entries[1])
    assert volume.image.shape == (2, 1, 1, 1)
    assert volume.image.ravel().tolist() == [1000.0, 0.25]
    assert volume.labels.tolist() == [1]


def test_columns_come_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    source = numbers(tmp_path, columns=["roundness", "area"])
    assert source.read(source.index().entries[0]).image.ravel().tolist() == [0.5, 105.25]
    with pytest.raises(TableError, match="the column size is missing; found group, label"):
        numbers(tmp_path, columns=["area", "size"]).index()


def test_the_column_of_the_patient_may_have_another_name_and_is_no_number(tmp_path: Path) -> None:
    source = numbers(tmp_path, "PatientID,area\n1234567,1\n7654321,2\n1234567,3\n", group="PatientID")
    index = source.index()
    assert source.number_columns() == ("area",)
    assert [entry.group for entry in index.entries] == ["patient-0001", "patient-0002", "patient-0001"]
    assert "1234567" not in repr(index)
    alone = numbers(tmp_path, "area\n1\n2\n").index().entries
    assert len({entry.group for entry in alone}) == 2


def test_one_sentence_names_every_column_that_cannot_be_learned_from(tmp_path: Path) -> None:
    source = numbers(tmp_path, "a,b,c,d\n1,x,5,2\n2,4,5,\n3,5,5,3\n4,y,5,nan\n7,6,5,1\n")
    index = source.index()
    assert [problem.path for problem in index.problems] == [f"table.csv/00000{line}" for line in (2, 3, 5)]
    assert index.problems[2].message == "No number in b, d; fill the cells or drop the row."
    with pytest.raises(TableError) as caught:
        source.check_training(index.entries)
    (sentence,) = caught.value.problems
    assert "text in b (line 2 and 1 more)" in sentence
    assert "missing numbers in d (line 3 and 1 more)" in sentence
    assert "one and the same number in every training row of c" in sentence


def test_a_table_without_mistakes_can_be_learned_from(tmp_path: Path) -> None:
    source = numbers(tmp_path)
    source.check_training([entry for entry in source.index().entries if entry.label == 0])


@pytest.mark.parametrize("cell", ["1e39", "-inf", "3,5"])
def test_what_a_network_cannot_hold_is_no_number(tmp_path: Path, cell: str) -> None:
    index = numbers(tmp_path, f'a;b\n1;2\n"{cell}";3\n').index()
    assert [len(index.entries), len(index.problems)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", "no rows"),
        ("group,label\np1,0\n", "no column is left"),
        ("a,label\n1,2\n", "label '2'"),
        ("a,part\n1,tests\n", "part 'tests'"),
    ],
)
def test_mistakes_of_a_table(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TableError, match=words):
        numbers(tmp_path, text).index()


def test_numbers_keep_all_their_digits(tmp_path: Path) -> None:
    source = numbers(tmp_path, "a\n123456.7\n2\n")
    assert source.read(source.index().entries[0]).image.ravel()[0] == np.float32(123456.7)


def test_labels_may_stand_in_another_column(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text('a,"Class",label\n1,"0",5\n2,"1",6\n', encoding="utf-8")
    source = Numbers(tmp_path, csv="table.csv", label="Class")
    assert [entry.label for entry in source.index().entries] == [0, 1]
    assert source.number_columns() == ("a",)
    with pytest.raises(TableError, match="kind is missing"):
        Numbers(tmp_path, csv="table.csv", label="kind").index()
