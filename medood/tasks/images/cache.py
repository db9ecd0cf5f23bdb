"""What the cache holds, what of it goes, and how large it may be."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medood.core.errors import MedoodError
from medood.core.files.shelves import Shelf, cache_limit, clear, keep_within, set_cache_limit, shelves
from medood.core.files.user_folders import default_cache

_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}


def list_cache(cache: Path | None) -> None:
    """Print the shelves of a cache, last used first."""
    folder = cache or default_cache()
    found, limit = shelves(folder), cache_limit()
    console = Console(highlight=False, markup=False)
    table = Table("holds", "of", "items", "size", "last used", box=None)
    for shelf in found:
        last = "in use" if shelf.in_use else datetime.fromtimestamp(shelf.used).strftime("%Y-%m-%d %H:%M")
        table.add_row(shelf.kind, Text(described(shelf)), str(shelf.items), spoken(shelf.bytes), last)
    if found:
        console.print(table)
    total = spoken(sum(shelf.bytes for shelf in found))
    console.print(f"{folder}: {total}, {f'limit {spoken(limit)}' if limit is not None else 'no limit'}.", soft_wrap=True)


def clear_cache(cache: Path | None, older: str | None) -> tuple[list[Shelf], list[Shelf]]:
    """Remove what nobody has used for so long, `30d`; returns what went, and what stays because a process uses it."""
    return clear(cache or default_cache(), older_than=seconds_in(older) if older else 0.0)


def limit_cache(cache: Path | None, size: str | None) -> list[Shelf]:
    """Remember the limit, `20GB` or `none`, and remove what is beyond it; without a size only remove. Returns what went."""
    if size is not None:
        set_cache_limit(None if size.lower() == "none" else bytes_in(size))
    return keep_within(cache or default_cache(), cache_limit())


def described(shelf: Shelf) -> str:
    about = shelf.about
    return ", ".join(str(about[key]) for key in ("source", "transforms", "size", "features") if about.get(key)) or shelf.folder.name[:16]


def spoken(size: int) -> str:
    unit, name = next(((value, key.upper()) for key, value in reversed(_UNITS.items()) if size >= value), (1, ""))
    return f"{size / unit:.1f} {name}" if name else f"{size} bytes"


def bytes_in(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]b)?", text.strip().lower())
    if not found:
        raise MedoodError(f"{text!r} is no size: expected a number and a unit, such as 20GB, or none.")
    return round(float(found[1]) * _UNITS[found[2] or ""])


def seconds_in(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdw])", text.strip().lower())
    if not found:
        raise MedoodError(f"{text!r} is no time: expected a number and h, d or w (hours, days, weeks), such as 30d.")
    return float(found[1]) * _SECONDS[found[2]]
