"""How commands come to know a folder: by its files or by its index. Nothing of an index is imported where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from medood.core.console import Console
from medood.core.files.user_folders import default_cache
from medood.core.volume import Index, Source
from medood.sources.fetching import index_of_mirror


def default_file(root: str) -> Path:
    """Where the index of a folder or address is kept when nobody says where."""
    return default_cache() / "indexes" / f"{sha256(root.encode(errors='surrogatepass')).hexdigest()[:16]}.duckdb"


@contextmanager
def found_by(source: Source, root: Path, named: str | Path | None, console: Console | None = None) -> Iterator[Index]:
    """What a source finds below its folder: from the headers in an index where one is named, otherwise from those of the files.

    `named` is its file, or "auto" for the one in the user's cache. The source `folder` itself hands out what the index holds, page by page
    and for as long as the block runs; other sources, and tables, ask it for headers only.
    """
    mirror = index_of_mirror(root)
    if named is None and mirror is None:
        yield source.index()
        return
    from medood.index.archive import held_by

    file = mirror or (default_file(str(root.resolve())) if named == "auto" else Path(str(named)))
    with held_by(source, root, file, console or Console(), mirror is not None) as index:
        yield index
