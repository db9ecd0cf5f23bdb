"""What a worker is given at a time: a series, or so many single files that loading and telling cost next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from medood.core.volume import Entry

_MOST_IMAGES = 64
_TURNS = 8  # units for each worker, at least, so that all end at about the same time


@dataclass(frozen=True, repr=False)  # logs of the engine may quote it, and entries name files
class Unit:
    """Entries that are scored together.

    name    of its part file;  map_names  of the entries' maps, none where there are none
    deaths  of workers that held these entries;  written  how often its part file was written in vain
    """

    name: str
    entries: tuple[Entry, ...]
    map_names: tuple[str, ...] = ()
    deaths: int = 0
    written: int = 0

    def again(self) -> Unit:
        """The same, after its part file was written in vain."""
        return replace(self, written=self.written + 1)

    def split(self) -> list[Unit]:
        """Its entries one by one, after a death."""
        names = self.map_names or [""] * len(self.entries)
        pairs = enumerate(zip(self.entries, names, strict=True))
        return [Unit(f"{self.name}-{n}", (entry,), (name,) if name else (), self.deaths + 1) for n, (entry, name) in pairs]


def units_of(entries: Iterable[Entry], size: int, map_name: Callable[[str], str] | None) -> Iterator[Unit]:
    """Entries in order, each unit as many as hold `size` images, and at least one; `map_name` names the map of an id."""
    group: list[Entry] = []
    count = 0
    for entry in entries:
        group.append(entry)
        if sum(each.slices for each in group) >= size:
            yield _unit(count, group, map_name)
            group, count = [], count + 1
    if group:
        yield _unit(count, group, map_name)


def images_in_unit(images: int, workers: int, batch_size: int) -> int:
    """How many images a unit holds where so many are to be scored: whole batches, fewer where there is little for each worker."""
    wanted = min(_MOST_IMAGES, images // (_TURNS * workers))
    return max(1, wanted // batch_size) * batch_size


def _unit(number: int, entries: list[Entry], map_name: Callable[[str], str] | None) -> Unit:
    names = tuple(map_name(entry.id) for entry in entries) if map_name else ()
    return Unit(f"{number:06d}", tuple(entries), names)
