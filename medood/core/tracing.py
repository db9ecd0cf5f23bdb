"""Whether a detector is being written down as a program, whose steps are the same for every image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_WRITING = ContextVar("writing", default=False)


@contextmanager
def written_down() -> Iterator[None]:
    """Inside the block every step and every shape must follow from the shapes of the images alone, never from their values."""
    before = _WRITING.set(True)
    try:
        yield
    finally:
        _WRITING.reset(before)


def is_written_down() -> bool:
    """For code that saves work by a look at the values: inside `written_down` it must do all of it."""
    return _WRITING.get()
