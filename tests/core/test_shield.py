"""What passes a shield, and what becomes of the rest."""

from __future__ import annotations

import traceback

import pytest

from medood.core.errors import InputError, NotFitted
from medood.core.shield import kind_of, shield

SECRET = "Secret^Name"


class PanicException(BaseException):
    """What a Rust library raises: no Exception."""


class TwoArguments(Exception):
    def __init__(self, a: str, b: str) -> None:
        super().__init__(a, b)


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), PanicException(SECRET), TwoArguments(SECRET, "b"), RecursionError(), StopIteration(SECRET)]
)
def test_what_a_library_raises_becomes_an_input_error_that_does_not_quote_it(error: BaseException) -> None:
    with pytest.raises(InputError, match=r"a\.dcm: it cannot be read") as caught, shield("a.dcm"):
        raise error
    assert caught.value.code == f"unreadable:{type(error).__name__}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_caller_chooses_the_words_and_the_code() -> None:
    damaged = shield("a.nii", lambda error: InputError(f"the header is damaged: {kind_of(error)}", "damaged_header"))
    with pytest.raises(InputError, match=r"^the header is damaged: KeyError$") as caught, damaged:
        {}["missing"]
    assert caught.value.code == "damaged_header"
    assert caught.value.__context__ is None


def test_too_little_memory_is_said_as_such_whatever_the_words_of_the_caller() -> None:
    damaged = shield("a.nii", lambda error: InputError("damaged"))
    with pytest.raises(InputError, match=r"a\.nii: there is not enough memory") as caught, damaged:
        raise MemoryError
    assert caught.value.code == "out_of_memory"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), InputError("no", "no_image"), NotFitted("no")])
def test_what_a_person_stops_and_what_medood_says_itself_pass_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, shield("a.dcm"):
        raise error
    assert caught.value is error


def test_a_block_without_errors_is_left_alone_and_a_function_can_be_shielded() -> None:
    @shield("a.dcm")
    def half(number: int) -> float:
        return 1 / number

    assert half(2) == 0.5
    with pytest.raises(InputError, match="ZeroDivisionError"):
        half(0)
