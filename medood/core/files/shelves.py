"""The shelves of a cache: a folder for each way of preparing images or of computing features. Who uses them, and which may go."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from filelock import FileLock, Timeout

from medood.core.errors import MedoodError
from medood.core.files.atomic import write_json
from medood.core.files.user_folders import config_folder, feature_folder

_NOTES = ".shelves"  # beside the shelves: for each its description, when it was last used, and a lock of every process that uses it
_ABOUT, _USED = "about.json", "used"

_held: dict[Path, FileLock] = {}


@dataclass(frozen=True)
class Shelf:
    """A folder of a cache.

    kind    "images" or "features"
    about   what it is of, as whoever filled it said
    items   series and single images, or arrays of features;  bytes  that they take
    used    when somebody used it last, in seconds since 1970
    in_use  whether a process that runs uses it
    """

    folder: Path
    kind: str
    about: Mapping[str, Any]
    items: int
    bytes: int
    used: float
    in_use: bool


def use(folder: Path, about: Mapping[str, Any]) -> None:
    """Say what a shelf is of, and that this process uses it: until the process ends, however it does, nobody removes it."""
    if folder in _held:
        return
    notes = _notes(folder)
    try:
        with _alone(folder.parent):
            folder.mkdir(parents=True, exist_ok=True)
            notes.mkdir(parents=True, exist_ok=True)
            lock = FileLock(notes / f"{uuid.uuid4().hex}.lock")
            lock.acquire(blocking=False)
            (notes / _USED).touch()
        if not (notes / _ABOUT).exists():
            write_json(notes / _ABOUT, about)
    except (OSError, MedoodError):  # a cache that may only be read can still be used, and whoever writes into it says why that fails
        return
    _held[folder] = lock


def shelves(cache: Path) -> list[Shelf]:
    """What a cache holds, last used first. Folders that are no shelves are nobody's business."""
    found = [_shelf(each, "images") for each in _below(cache) if len(each.name) == 16 and set(each.name) <= set("0123456789abcdef")]
    found += [_shelf(each, "features") for each in _below(feature_folder(cache))]
    return sorted(found, key=lambda shelf: shelf.used, reverse=True)


def clear(cache: Path, *, older_than: float = 0.0) -> tuple[list[Shelf], list[Shelf]]:
    """Remove the shelves that nobody has used for so many seconds; returns those that went, and those that stay because they are in use."""
    old = [shelf for shelf in shelves(cache) if time() - shelf.used >= older_than]
    gone = [shelf for shelf in old if _remove(shelf.folder)]
    return gone, [shelf for shelf in old if shelf not in gone]


def keep_within(cache: Path, limit: int | None) -> list[Shelf]:
    """Remove shelves, those that were used longest ago first, until the rest takes no more than `limit` bytes; returns those that went."""
    if limit is None:
        return []
    there, gone = shelves(cache), []
    total = sum(shelf.bytes for shelf in there)
    for shelf in reversed(there):
        if total > limit and _remove(shelf.folder):
            gone.append(shelf)
            total -= shelf.bytes
    return gone


def cache_limit() -> int | None:
    """The bytes that this user wants a cache to take at most, None without a limit."""
    file = _settings()
    try:
        limit = json.loads(file.read_text(encoding="utf-8"))["limit_bytes"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MedoodError(f"{file} is damaged: set the limit again with `medood cache limit`, or remove the file.") from error
    return limit if isinstance(limit, int) else None


def set_cache_limit(limit: int | None) -> None:
    write_json(_settings(), {"limit_bytes": limit})


def _settings() -> Path:
    return config_folder() / "cache.json"


def _below(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")] if folder.is_dir() else []


def _shelf(folder: Path, kind: str) -> Shelf:
    notes, items, size = _notes(folder), 0, 0
    counted = "facts.json" if kind == "images" else ""
    for file in folder.rglob("*"):
        with suppress(OSError):  # another process may be at work
            if file.is_file():
                size += file.stat().st_size
                items += file.name == counted or (not counted and file.suffix == ".npy")
    try:
        about = dict(json.loads((notes / _ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        about = {}
    stamp = notes / _USED
    used = (stamp if stamp.exists() else folder).stat().st_mtime
    with _alone(folder.parent):
        return Shelf(folder, kind, about, items, size, used, _is_used(notes))


def _remove(folder: Path) -> bool:
    """Whether the shelf is gone; not if a process uses it. What is seen is always a whole shelf or none."""
    notes, aside = _notes(folder), folder.with_name(f".gone-{uuid.uuid4().hex}")
    with _alone(folder.parent):
        if _is_used(notes):
            return False
        folder.replace(aside)
        shutil.rmtree(notes, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _is_used(notes: Path) -> bool:
    """Whether one of the locks is held; those of processes that have died are taken away. To be called alone."""
    held = [_is_held(file) for file in (notes.glob("*.lock") if notes.is_dir() else ())]
    return any(held)


def _is_held(file: Path) -> bool:
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    file.unlink(missing_ok=True)
    lock.release()
    return False


def _notes(folder: Path) -> Path:
    return folder.parent / _NOTES / folder.name


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """While the block runs nobody else begins to use a shelf of this cache or removes one."""
    (cache / _NOTES).mkdir(parents=True, exist_ok=True)
    with FileLock(cache / _NOTES / "all.lock"):
        yield
