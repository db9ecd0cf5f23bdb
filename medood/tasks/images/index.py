"""Making the index of a folder, and finding it again."""

from __future__ import annotations

from pathlib import Path

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.engines.engine import LOCAL, Engine
from medood.index.archive import Report, update, update_remote
from medood.index.finding import default_file
from medood.index.remote import Remote
from medood.sources.fetching import is_remote


def index_folder(folder: Path, to: Path | None, *, workers: int | None = None, engine: Engine = LOCAL, overwrite: bool = False) -> Report:
    """Make the index of a folder or an address, or bring it up to date; without a file in the user's cache, where `auto` finds it again.

    The headers of a folder are read by so many `workers`, processes on this machine, or by those of an engine.
    """
    if is_remote(str(folder)) and engine.kind != "local":
        raise MedoodError("--engine reads files itself, which it cannot from an address: copy the images here, or leave it out.")
    remote = Remote(str(folder)) if is_remote(str(folder)) else None
    file = to or default_file(remote.address if remote else str(folder.resolve()))
    if remote:
        return update_remote(remote, file, overwrite=overwrite, console=Console())
    return update(folder, file, workers=workers, engine=engine, overwrite=overwrite, console=Console())
