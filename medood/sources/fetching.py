"""Files that are elsewhere and come when they are read: who reads an entry asks for its files first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/+(.+)")
"""Protocol and place; a path has lost one of the two slashes."""

_OTHERS = ("dicomweb", "dicomweb+http")
Fetch = Callable[[Iterable[Path]], None]

_mirrors: dict[Path, tuple[Fetch, Path]] = {}  # for every thread


def is_remote(address: str) -> bool:
    """Whether this is an address of fsspec, such as s3://bucket/folder, and no folder."""
    found = ADDRESS.fullmatch(address)
    return found is not None and found[1] not in _OTHERS


@contextmanager
def mirror(root: Path, fetch: Fetch, index: Path) -> Iterator[None]:
    """While the block runs files below `root` are fetched when they are asked for; `index` is the file that knows what there is."""
    _mirrors[root] = fetch, index
    try:
        yield
    finally:
        del _mirrors[root]


def bring(files: Iterable[Path]) -> None:
    """Have files of a mirror here, for as long as they are among those that were asked for last. Raises InputError."""
    if not _mirrors:
        return
    wanted = list(files)
    for root, (fetch, _) in _mirrors.items():
        if there := [path for path in wanted if path.is_relative_to(root)]:
            fetch(there)


def index_of_mirror(root: Path) -> Path | None:
    """The file that knows what a mirror holds, None for a folder that is none."""
    return _mirrors[root][1] if root in _mirrors else None
