"""Warnings, said as sentences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from medood.core.errors import MedoodWarning


@contextmanager
def warnings_said(say: Callable[[str], None]) -> Iterator[None]:
    """Inside the block a warning of medood's is its sentence, given to `say`; others are shown as ever."""
    as_ever = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, MedoodWarning):
            say(f"Warning: {message}")
        else:
            as_ever(message, category, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = as_ever
