"""What may go wrong with one entry, and what must not be taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medood.core.errors import InputError, MedoodError
from medood.core.volume import Entry, Problem
from medood.data.attempt import attempt

ENTRY = Entry("a/b.png", (Path("a/b.png"),), "p")


def raising(error: BaseException):
    def work(entry: Entry) -> str:
        raise error

    return work


class Panic(BaseException):
    """As Rust libraries raise."""


def test_what_works_is_returned() -> None:
    assert attempt(lambda entry: entry.id.upper(), ENTRY) == "A/B.PNG"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("a/b.png: it is cut off.", "truncated"), "truncated", "it is cut off."),
        (MemoryError(), "out_of_memory", "not enough memory"),
        (Panic("Doe^Jane"), "unreadable:Panic", "cannot be read (Panic)"),
        (RuntimeError("Doe^Jane"), "unreadable:RuntimeError", "cannot be read (RuntimeError)"),
    ],
)
def test_whatever_an_entry_raises_is_its_problem(error: BaseException, code: str, words: str) -> None:
    problem = attempt(raising(error), ENTRY)
    assert isinstance(problem, Problem)
    assert (problem.path, problem.code) == ("a/b.png", code)
    assert words in problem.message
    assert "a/b.png" not in problem.message
    assert "Doe" not in problem.message


@pytest.mark.parametrize("error", [MedoodError("the disk is full"), KeyboardInterrupt(), SystemExit(3)])
def test_what_is_not_about_the_entry_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        attempt(raising(error), ENTRY)
