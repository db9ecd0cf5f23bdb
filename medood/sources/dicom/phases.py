"""Takes apart volumes that lie at the same place: echoes, times, b-values, directions of diffusion."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import combinations

import numpy as np

from medood.sources.dicom.placement import SAME_POSITION, along_normal, repeats, same_position
from medood.sources.dicom.planes import CLOCKS, Plane

_MOST_KEYS = 3


def phases_of(planes: list[Plane]) -> list[list[Plane]]:
    """The volumes among planes of one geometry.

    Where positions repeat, the fewest of the phase keys that make every position single within each part decide; the times of the clock are
    asked last of all, by their values and then by their order. Planes that nothing tells apart stay together.
    """
    if not repeats(planes):
        return [planes]
    every = range(len(planes[0].phase))
    keys = [i for i in every if i not in CLOCKS]
    return _by_fewest_keys(planes, keys) or _by_fewest_keys(planes, [*keys, *CLOCKS]) or _by_order_in_time(planes) or [planes]


def _by_fewest_keys(planes: list[Plane], keys: Iterable[int]) -> list[list[Plane]]:
    useful = _useful(planes, keys)
    for size in range(1, _MOST_KEYS + 1):
        ways = [_parts(planes, chosen) for chosen in combinations(useful, size)]
        ways = [parts for parts in ways if not any(_is_wrong(part, planes) for part in parts)]
        if ways:
            return min(ways, key=len)
    return []


def _useful(planes: list[Plane], keys: Iterable[int]) -> list[int]:
    """The keys that take planes apart, each in its own way, and do not make single slices fall out of a stack."""
    ways: dict[tuple[int, ...], int] = {}
    for key in keys:
        numbers: dict[str, int] = {}
        way = tuple(numbers.setdefault(plane.phase[key], len(numbers)) for plane in planes)
        if len(numbers) > 1 and not any(_falls_out(part, planes) for part in _parts(planes, (key,))):
            ways.setdefault(way, key)
    return list(ways.values())


def _parts(planes: list[Plane], keys: tuple[int, ...]) -> list[list[Plane]]:
    """The parts that differ in the keys, lowest value first."""
    groups: dict[Hashable, list[Plane]] = {}
    for plane in planes:
        groups.setdefault(tuple(plane.phase[i] for i in keys), []).append(plane)
    return sorted(groups.values(), key=lambda part: [_numerical(part[0].phase[i]) for i in keys])


def _is_wrong(part: list[Plane], planes: list[Plane]) -> bool:
    return repeats(part) or _falls_out(part, planes)


def _falls_out(part: list[Plane], planes: list[Plane]) -> bool:
    """True for a single slice of a stack; volumes of one slice have one position."""
    return len(part) == 1 and float(np.ptp(along_normal(planes))) >= SAME_POSITION


def _numerical(value: str) -> tuple[float, str]:
    """A sort key by which 9 comes before 10, and text after numbers."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def _by_order_in_time(planes: list[Plane]) -> list[list[Plane]]:
    """The first image at every position, the second, and so on, if each of these volumes was complete before the next began."""
    along = along_normal(planes)
    order = np.argsort(along, kind="stable")
    position = np.empty(len(planes), int)
    position[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > same_position(along))])
    counts = np.bincount(position)
    if counts.min() < 2 or counts.min() != counts.max():
        return []
    for clock in CLOCKS:
        times = np.array([_numerical(plane.phase[clock])[0] for plane in planes])
        if np.isfinite(times).all():
            table = np.lexsort((times, position)).reshape(len(counts), counts[0]).T  # phases x positions
            if (times[table][:-1].max(axis=1) < times[table][1:].min(axis=1)).all():
                return [[planes[i] for i in phase] for phase in table]
    return []
