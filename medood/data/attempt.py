"""Work on one entry of many: what goes wrong with it is that entry's problem, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from medood.core.errors import InputError
from medood.core.shield import shield
from medood.core.volume import Entry, Problem

Result = TypeVar("Result")


def attempt(work: Callable[[Entry], Result], entry: Entry) -> Result | Problem:
    """What `work` makes of an entry, or the problem that kept it from it.

    Everything counts that a reader, a decoder or a network raises, lack of memory and Rust panics included. What passes is not about the
    entry: Ctrl-C, and medood's own errors other than InputError, such as a full disk or a mistake in the transforms.
    """
    try:
        with shield(entry.id):
            return work(entry)
    except InputError as error:
        return Problem(entry.id, error.code, str(error).removeprefix(f"{entry.id}: "))
