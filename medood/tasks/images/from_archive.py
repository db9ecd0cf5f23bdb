"""Lets a command that takes a folder take an address of an archive or of an object store as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from medood.core.volume import Index
from medood.node.network import check_installed
from medood.recipe.recipe import Recipe
from medood.sources.fetching import is_remote


@dataclass(frozen=True)
class Images:
    """Where images are: the folder, and at each step something of them in it, in place of what the step before brought.

    steps  an opaque name of the patient each; empty where the images say themselves whose they are
    name   what the user called it
    """

    folder: Path
    steps: Iterable[str]
    name: str

    @staticmethod
    def below(folder: Path) -> Images:
        """All at once: what is in a folder."""
        return Images(folder, [""], str(folder.resolve()))


@contextmanager
def images_of(folder: Path, index: str | None = None) -> Iterator[Images]:
    """Those of an archive, one series a step, which is gone with the next; those of any other `local_folder` in one step."""
    if is_archive(folder):
        with _fetched(folder, keep=False) as (place, steps):
            yield Images(place, steps, str(folder))
        return
    with local_folder(folder, index) as place:
        yield Images.below(place)


def is_archive(folder: Path) -> bool:
    """Whether this is an address of an archive, by DICOMweb."""
    return str(folder).startswith(("dicomweb:", "dicomweb+http:"))


@contextmanager
def _fetched(folder: Path, keep: bool) -> Iterator[tuple[Path, Iterator[str]]]:
    check_installed()
    from medood.node.fetched import fetched

    with fetched(str(folder), keep=keep) as found:
        yield found


@contextmanager
def local_folder(folder: Path, index: str | None = None) -> Iterator[Path]:
    """The folder itself; of an address that begins with dicomweb: a folder with what was fetched, which is gone afterwards.

    Of an address of fsspec, such as s3: or zip:, a folder where files are when they are read. What there is is looked up first, and kept in
    the index that is named, or in the user's cache.
    """
    if is_archive(folder):
        with _fetched(folder, keep=True) as (place, steps):
            for _ in steps:
                pass
            yield place
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


@contextmanager
def training_folder(recipe: Recipe, data: Path | None, index: str | None = None) -> Iterator[Path | None]:
    """`data`, which replaces the folder of the recipe's source, as a `local_folder`; the recipe's own when that is an address."""
    root = recipe.source.get("root")
    place = data or (Path(root) if root and is_address(Path(root)) else None)
    with local_folder(place, index) if place else nullcontext() as folder:
        yield folder


def is_address(folder: Path) -> bool:
    """Whether this is an address of an archive or a store, and no folder."""
    return is_archive(folder) or is_remote(str(folder))


def of_patient(index: Index, patient: str) -> Index:
    """The index with all entries of that patient, if there is a name."""
    return replace(index, entries=tuple(replace(entry, group=patient) for entry in index.entries)) if patient else index


def joined(indices: Sequence[Index], root: Path) -> Index:
    """One index of all; of one, that one."""
    if len(indices) == 1:
        return indices[0]
    entries = tuple(entry for index in indices for entry in index.entries)
    return Index(root, entries, tuple(problem for index in indices for problem in index.problems))
