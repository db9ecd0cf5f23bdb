"""Finding the files below a folder and turning each into an entry or a problem."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from medood.core.errors import InputError
from medood.core.shield import shield
from medood.core.volume import Entry, Index, Problem

_LEFT_BY_SYSTEMS = {"thumbs.db", "desktop.ini"}


def files_below(root: Path, *, hidden: bool = False) -> list[Path]:
    """Every file below `root`, sorted, links followed once.

    Unless asked for, hidden files and folders (`.DS_Store`, `._scan.png`) and the files that Windows keeps for its own use are left out. A
    folder that may not be listed stands in the list itself, so that whoever opens it reports it. A root that is a file stands for itself.
    Raises InputError when there is nothing.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; check the path.", "not_found")
    found_files: list[Path] = []
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=lambda error: found_files.append(Path(error.filename))):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else [name for name in folders if hidden or not name.startswith(".")]
        if real not in seen:
            found_files.extend(Path(folder, name) for name in names if hidden or _shown(name))
        seen.add(real)
    return sorted(found_files)


def _shown(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _LEFT_BY_SYSTEMS


def index_files(root: Path, files: Iterable[Path], entry: Callable[[Path], Entry]) -> Index:
    """The index of `files`: what `entry` makes of each, or as a problem what it raises, whatever that is."""
    entries, problems = [], []
    for path in files:
        name = name_of(path, root)
        try:
            with shield(name):
                entries.append(entry(path))
        except InputError as error:
            problems.append(Problem(name, error.code, str(error).removeprefix(f"{name}: ")))
    return Index(root, tuple(sorted(entries, key=lambda e: e.id)), tuple(problems))


def name_of(path: Path, root: Path) -> str:
    """The path below `root`, with `/` on every system; the file's own name when it is the root."""
    return path.name if path == root else path.relative_to(root).as_posix()
