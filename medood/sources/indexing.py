"""Finding the files below a folder and turning each into an entry or a problem."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from medood.core.errors import InputError
from medood.core.shield import shield
from medood.core.volume import Entry, Index, Problem

_LEFT_BY_SYSTEMS = {"thumbs.db", "desktop.ini"}
CLOSED_FOLDER = "This folder cannot be opened; check its permissions."
"""What is said of a folder that may not be listed."""


def files_below(root: Path, *, hidden: bool = False) -> list[Path]:
    """Every file below `root`, sorted, links followed once.

    Unless asked for, hidden files and folders (`.DS_Store`, `._scan.png`) and the files that Windows keeps for its own use are left out. A
    folder that may not be listed stands in the list itself, so that whoever opens it reports it. A root that is a file stands for itself.
    Raises InputError when there is nothing.
    """
    if root.is_file():
        return [root]
    found = [path for path, shown in walk(root, hidden=hidden)]
    return sorted(found) if hidden else found


def walk(root: Path, *, hidden: bool = False) -> Iterator[tuple[Path, bool]]:
    """Every file below the folder `root`, sorted, and whether it is shown; if asked for, hidden ones come after all that are shown.

    Only one folder of each level is held at a time. A folder that several paths lead to is entered by the first of them.
    """
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; check the path.", "not_found")
    seen: set[str] = set()
    later: list[tuple[str, bool]] = []
    yield from ((Path(path), True) for path in _below([(str(root), True)], seen, later if hidden else None))
    yield from ((Path(path), False) for path in _below(sorted(later, reverse=True), seen, None, every=True))


def _below(waiting: list[tuple[str, bool]], seen: set[str], later: list[tuple[str, bool]] | None, every: bool = False) -> Iterator[str]:
    """Files of `waiting`, paths and whether each is a folder, last first; what is hidden joins `later`, unless `every` file counts."""
    while waiting:
        path, is_folder = waiting.pop()
        inside = _listed(path, seen) if is_folder else None
        if inside is None:
            yield path
            continue
        for each in inside:
            found = each.path, is_directory(each)
            if every or _shown(*found):
                waiting.append(found)
            elif later is not None:
                later.append(found)


def _listed(folder: str, seen: set[str]) -> list[os.DirEntry[str]] | None:
    """What is in a folder, last name first; nothing the second time, None when it may not be listed."""
    real = os.path.realpath(folder)
    if real in seen:
        return []
    seen.add(real)
    try:
        with os.scandir(folder) as inside:
            return sorted(inside, key=lambda each: each.name, reverse=True)
    except OSError:
        return None


def is_directory(each: os.DirEntry[str] | Path) -> bool:
    """Whether it is a folder; what may not be asked is none."""
    try:
        return each.is_dir()
    except OSError:
        return False


def _shown(path: str, is_folder: bool) -> bool:
    name = os.path.basename(path)  # noqa: PTH119 - of very many
    return not name.startswith(".") and (is_folder or name.lower() not in _LEFT_BY_SYSTEMS)


def index_files(root: Path, files: Iterable[Path], entry: Callable[[Path], Entry]) -> Index:
    """The index of `files`: what `entry` makes of each, or as a problem what it raises, whatever that is."""
    entries, problems = [], []
    for path in files:
        name = name_of(path, root)
        try:
            with shield(name):
                entries.append(entry(path))
        except InputError as error:
            problems.append(_problem(path, name, error))
    return Index(root, tuple(sorted(entries, key=lambda e: e.id)), tuple(problems))


def _problem(path: Path, name: str, error: InputError) -> Problem:
    """What a source says of a file; of a folder that may not be listed it would say that it is no image."""
    if error.code.startswith(("not_an_image", "unreadable")) and is_directory(path):
        return Problem(name, "unreadable", CLOSED_FOLDER)
    return Problem(name, error.code, str(error).removeprefix(f"{name}: "))


def name_of(path: Path, root: Path) -> str:
    """The path below `root`, with `/` on every system; the file's own name when it is the root."""
    return path.name if path == root else path.relative_to(root).as_posix()
