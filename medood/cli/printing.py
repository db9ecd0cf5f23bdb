"""Tables on the terminal, as wide as it is."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from medood.export.tables import Table


def width(otherwise: int = 140) -> int:
    """Columns of the terminal; `otherwise` in a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else otherwise


def print_tables(tables: Iterable[Table]) -> None:
    from medood.export.tables import as_text

    for table in tables:
        typer.echo(as_text(table, width()) + "\n")
