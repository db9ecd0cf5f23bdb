"""Entries into the cache of prepared images, several at a time, with a word on those that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from medood.core.console import Console
from medood.core.volume import Entry, Problem, Source
from medood.data.attempt import attempt
from medood.data.cache import Cache, CachedEntry
from medood.data.side_by_side import side_by_side


def prepare(store: Cache, source: Source, entries: Sequence[Entry], what: str, console: Console) -> list[CachedEntry]:
    """All entries in the cache; those that cannot be used are named and left out. `what` are they: "training images"."""

    def one(entry: Entry) -> CachedEntry | Problem:
        return attempt(partial(store.prepared, source), entry)

    results = []
    for result in console.track(side_by_side(one, entries, workers=4, ahead=8), f"Preparing {what}", len(entries)):
        if isinstance(result, Problem):
            console.warn(f"Left out: {result.path}: {result.message}")
        else:
            results.append(result)
    return results
