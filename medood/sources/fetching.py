"""Files that are elsewhere and come when they are read: who reads an entry asks for its files first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ADDRESS = re.compile(r"([a-z][a-z0-9+]+):/+(.+)")
"""Protocol and place; a path has lost one of the two slashes."""

_OTHERS = ("dicomweb", "dicomweb+http")
Fetch = Callable[[Iterable[Path]], None]


@dataclass(frozen=True)
class _Mirror:
    fetch: Fetch
    index: Path
    address: str


_mirrors: dict[Path, _Mirror] = {}  # for every thread


def is_remote(address: str) -> bool:
    """Whether this is an address of fsspec, such as s3://bucket/folder, and no folder."""
    found = ADDRESS.fullmatch(address)
    return found is not None and found[1] not in _OTHERS


@contextmanager
def mirror(root: Path, fetch: Fetch, index: Path, address: str) -> Iterator[None]:
    """While the block runs files below `root` are fetched from `address` when they are asked for; `index` is the file that knows what
    there is."""
    _mirrors[root] = _Mirror(fetch, index, address)
    try:
        yield
    finally:
        del _mirrors[root]


def bring(files: Iterable[Path]) -> None:
    """Have files of a mirror here, for as long as they are among those that were asked for last. Raises InputError."""
    if not _mirrors:
        return
    wanted = list(files)
    for root, here in _mirrors.items():
        if there := [path for path in wanted if path.is_relative_to(root)]:
            here.fetch(there)


def index_of_mirror(root: Path) -> Path | None:
    """The file that knows what a mirror holds, None for a folder that is none."""
    return _mirrors[root].index if root in _mirrors else None


def named(root: Path) -> str:
    """What to call a folder when it is asked for again: the address of which it is a mirror, or its full path."""
    return _mirrors[root].address if root in _mirrors else str(root.resolve())
