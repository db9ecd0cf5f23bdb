"""Lets a command that takes a folder take an address of an archive or of an object store as well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medood.node.network import check_installed
from medood.sources.fetching import is_remote


@contextmanager
def local_folder(folder: Path, index: str | None = None) -> Iterator[Path]:
    """The folder itself; of an address that begins with dicomweb: a folder with what was fetched, which is gone afterwards.

    Of an address of fsspec, such as s3: or zip:, a folder where files are when they are read. What there is is looked up first, and kept in
    the index that is named, or in the user's cache.
    """
    if str(folder).startswith(("dicomweb:", "dicomweb+http:")):
        check_installed()
        from medood.node.fetched import fetched

        with fetched(str(folder)) as images:
            yield images
        return
    if not is_remote(str(folder)):
        yield folder
        return
    from medood.index.archive import update_remote
    from medood.index.finding import default_file
    from medood.index.remote import Remote

    remote = Remote(str(folder))
    file = Path(index) if index and index != "auto" else default_file(remote.address)
    update_remote(remote, file)
    with remote.mirrored(file) as images:
        yield images
