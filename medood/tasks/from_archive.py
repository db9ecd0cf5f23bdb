"""Lets a command that takes a folder take an address of an archive as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medood.node.network import check_installed


@contextmanager
def local_folder(folder: Path) -> Iterator[Path]:
    """The folder itself; of an address that begins with dicomweb: a folder with what was fetched, which is gone afterwards."""
    if not str(folder).startswith(("dicomweb:", "dicomweb+http:")):
        yield folder
        return
    check_installed()
    from medood.node.fetched import fetched

    with fetched(str(folder)) as images:
        yield images
