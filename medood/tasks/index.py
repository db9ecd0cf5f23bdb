"""Making the index of a folder, and finding it again."""

from __future__ import annotations

from pathlib import Path

from medood.core.console import Console
from medood.index.archive import Report, default_file, update


def index_folder(folder: Path, to: Path | None, *, workers: int | None = None, overwrite: bool = False) -> Report:
    """Make the index of a folder or bring it up to date; without a file to write in the user's cache, where `auto` finds it again."""
    file = to or default_file(str(folder.resolve()))
    if overwrite:
        for part in (file, file.with_name(f"{file.name}.wal")):
            part.unlink(missing_ok=True)
    return update(folder, file, workers=workers, console=Console())
