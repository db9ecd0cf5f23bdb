"""Making the index of a folder, and finding it again."""

from __future__ import annotations

from pathlib import Path

from medood.core.console import Console
from medood.index.archive import Report, update, update_remote
from medood.index.finding import default_file
from medood.index.remote import Remote
from medood.sources.fetching import is_remote


def index_folder(folder: Path, to: Path | None, *, workers: int | None = None, overwrite: bool = False) -> Report:
    """Make the index of a folder or an address, or bring it up to date; without a file in the user's cache, where `auto` finds it again."""
    remote = Remote(str(folder)) if is_remote(str(folder)) else None
    file = to or default_file(remote.address if remote else str(folder.resolve()))
    if overwrite:
        for part in (file, file.with_name(f"{file.name}.wal")):
            part.unlink(missing_ok=True)
    if remote:
        return update_remote(remote, file, console=Console())
    return update(folder, file, workers=workers, console=Console())
