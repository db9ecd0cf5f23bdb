"""From the planes of many files to stacks: which belong together, in which order, and whether they fill space evenly."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from medood.core.volume import Problem
from medood.sources.dicom.placement import normal_of, step_of, tilt_of
from medood.sources.dicom.planes import Plane

OnBadSeries = Literal["skip", "nearest"]

_SAME_DIRECTION = 1e-3  # in each component of the unit vectors
_SAME_POSITION = 0.01  # mm
_UNEVEN = 0.01  # of the distance of slices
_TILTED = 0.2  # degrees
_CROSS_SECTIONS = frozenset({"CT", "MR", "PT", "NM"})
_MOST_PHASE_KEYS = 3
_NAMES_SHOWN = 4


@dataclass(frozen=True)
class Stack:
    """Planes of one volume, in the order of its slices, and codes of what is odd about them."""

    planes: tuple[Plane, ...]
    issues: tuple[str, ...]


def stacks_of(planes: Iterable[Plane], on_bad_series: OnBadSeries) -> tuple[list[Stack], list[Problem]]:
    """Sorts the planes of all files into stacks, and names the planes and series that cannot be used."""
    once, problems = _without_repeated_objects(planes)
    stacks: list[Stack] = []
    for series in _grouped(once, _series_of):
        found, wrong = _series_stacks(series, on_bad_series)
        stacks += found
        problems += wrong
    return stacks, problems


def _series_of(plane: Plane) -> Hashable:
    """A series of single frames belongs together; a multi-frame object is a series of its own, and so are its parts if it was cut up."""
    file = plane.file
    alone = file.concatenation or file.sop_uid or file.name if file.frames > 1 else ""
    return file.series_uid or file.name, alone


def _series_stacks(planes: list[Plane], on_bad_series: OnBadSeries) -> tuple[list[Stack], list[Problem]]:
    planes, problems = _without_localizers(planes)
    excluded = len(problems)
    placed = _grouped_by_geometry([plane for plane in planes if plane.place])
    loose = _grouped([plane for plane in planes if not plane.place], lambda plane: plane.file.name)
    series_issues = {"mixed_geometry": len(placed) + bool(loose) > 1, f"localizer_excluded:{excluded}": excluded > 0}
    stacks = [Stack(tuple(group), _issues(group, series_issues)) for group in loose]
    for group in placed:
        phases = _phases(group)
        issues = series_issues | {f"multiple_volumes_in_series:{len(phases)}": len(phases) > 1}
        for phase in phases:
            stack, oddities, wrong = _even_stack(phase, on_bad_series)
            problems += wrong
            if stack:
                stacks.append(Stack(tuple(stack), _issues(stack, issues | oddities)))
    return stacks, problems


def _issues(planes: Sequence[Plane], of_the_series: dict[str, bool]) -> tuple[str, ...]:
    first = planes[0]
    tilt = tilt_of([plane.place for plane in planes]) if first.place and len(planes) > 1 else 0.0
    found = of_the_series | {
        f"gantry_tilt:{tilt:.1f}": tilt > _TILTED,
        "imager_spacing_used": first.measured == "imager",
        "localizer": first.file.localizer,
        "no_patient_geometry": first.place is None and first.file.modality in _CROSS_SECTIONS,
        "per_slice_rescale": len({plane.rescale for plane in planes}) > 1,
    }
    of_the_files = {issue for plane in planes for issue in plane.file.issues}
    return tuple(sorted(of_the_files | {issue for issue, present in found.items() if present}))


def _without_repeated_objects(planes: Iterable[Plane]) -> tuple[list[Plane], list[Problem]]:
    """Leaves the first file of each SOP instance; the others are copies by definition (PS3.5 section 9)."""
    first: dict[str, str] = {}
    once, problems = [], {}
    for plane in planes:
        file = plane.file
        kept = first.setdefault(file.sop_uid or file.name, file.name)
        if kept == file.name:
            once.append(plane)
        else:
            message = f"A copy of {kept} (the same SOP instance); it is left out. Remove one of the two."
            problems[file.name] = Problem(file.name, "duplicate_sop_instance", message)
    return once, list(problems.values())


def _without_localizers(planes: list[Plane]) -> tuple[list[Plane], list[Problem]]:
    """Leaves out overview images that lie inside a series of others."""
    others = [plane for plane in planes if not plane.file.localizer]
    if not others:
        return planes, []
    message = "An overview image (localizer) inside a series of slices; it is left out of their volume."
    names = dict.fromkeys(plane.file.name for plane in planes if plane.file.localizer)
    return others, [Problem(name, "localizer_excluded", message) for name in names]


def _grouped(planes: Iterable[Plane], key: Callable[[Plane], Hashable]) -> list[list[Plane]]:
    groups: dict[Hashable, list[Plane]] = {}
    for plane in planes:
        groups.setdefault(key(plane), []).append(plane)
    return list(groups.values())


def _grouped_by_geometry(planes: list[Plane]) -> list[list[Plane]]:
    """Planes of one size, spacing, direction and kind of colour, and of one stack of a multi-frame object."""
    groups: list[list[Plane]] = []
    for plane in planes:
        group = next((group for group in groups if _alike(group[0], plane)), None)
        if group is None:
            groups.append([plane])
        else:
            group.append(plane)
    return groups


def _alike(a: Plane, b: Plane) -> bool:
    if (a.rows, a.columns, a.colour, a.stack) != (b.rows, b.columns, b.colour, b.stack):
        return False
    directions = zip(a.place.across + a.place.down, b.place.across + b.place.down, strict=True)
    spacings = zip(a.spacing, b.spacing, strict=True)
    return all(abs(p - q) < _SAME_DIRECTION for p, q in directions) and all(abs(p - q) < 1e-3 * p for p, q in spacings)


def _phases(planes: list[Plane]) -> list[list[Plane]]:
    """Takes apart volumes that lie at the same place: echoes, times, b-values.

    Where positions repeat, the fewest of the phase keys that make every position single within each part decide. Planes that no key tells
    apart stay together.
    """
    if not _repeats(planes):
        return [planes]
    varying = [i for i in range(len(planes[0].phase)) if len({plane.phase[i] for plane in planes}) > 1]
    for size in range(1, _MOST_PHASE_KEYS + 1):
        ways = [_grouped_by_phase(planes, keys) for keys in combinations(varying, size)]
        ways = [parts for parts in ways if parts]
        if ways:
            return min(ways, key=len)
    return [planes]


def _grouped_by_phase(planes: list[Plane], keys: tuple[int, ...]) -> list[list[Plane]]:
    """The parts that differ in the keys, lowest value first; nothing if a position still repeats, or single slices fall out of a stack."""
    parts = _grouped(planes, lambda plane: tuple(plane.phase[i] for i in keys))
    one_position = float(np.ptp(_along_normal(planes))) < _SAME_POSITION
    if any(_repeats(part) or (len(part) == 1 and not one_position) for part in parts):
        return []
    return sorted(parts, key=lambda part: [_numerical(part[0].phase[i]) for i in keys])


def _numerical(value: str) -> tuple[float, str]:
    """A sort key by which 9 comes before 10, and text after numbers."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def _along_normal(planes: Sequence[Plane]) -> np.ndarray:
    return np.array([plane.place.position for plane in planes]) @ normal_of(planes[0].place)


def _same_position(along: np.ndarray) -> float:
    """Millimetres below which two positions are one; less than usual for stacks of very thin slices."""
    return min(_SAME_POSITION, 0.05 * float(np.ptp(along)) / max(1, len(along) - 1))


def _repeats(planes: Sequence[Plane]) -> bool:
    along = np.sort(_along_normal(planes))
    return bool((np.diff(along) <= _same_position(along)).any())


def _even_stack(planes: list[Plane], on_bad_series: OnBadSeries) -> tuple[list[Plane], dict[str, bool], list[Problem]]:
    """Planes in order of position, codes of what is wrong with their distances, and problems.

    By the rule "skip" a stack with anything wrong has no planes; by "nearest" it keeps them all but those at a position already taken.
    """
    along = _along_normal(planes)
    stack = [planes[i] for i in np.argsort(along, kind="stable")]
    double = np.diff(np.sort(along)) <= _same_position(along)
    problems = []
    if double.any():
        problems.append(_doubled(stack, double))
        stack = [stack[0], *(plane for plane, again in zip(stack[1:], double, strict=True) if not again)]
    uneven = _uneven(stack, np.diff(_along_normal(stack))) if len(stack) > 1 else None
    if on_bad_series == "skip" and (problems or uneven):
        return [], {}, problems or [uneven]
    return stack, {"duplicate_positions": bool(problems), "nonuniform_spacing": uneven is not None}, problems


def _doubled(stack: list[Plane], double: np.ndarray) -> Problem:
    names = [f"{stack[i].file.name} and {stack[i + 1].file.name}" for i in np.flatnonzero(double)]
    message = f"{len(names)} slice(s) lie where another one lies, and nothing in the headers tells them apart: {_some(names)}."
    return Problem(folder_of(stack), "duplicate_positions", f"{message} Remove what does not belong to the series.")


def _uneven(stack: list[Plane], gaps: np.ndarray) -> Problem | None:
    """What is wrong with a stack whose slices are not at equal distances, or not in line."""
    usual = float(np.median(gaps))
    holes = np.flatnonzero(np.abs(gaps - usual) > max(_UNEVEN * usual, _SAME_POSITION))
    if not len(holes):
        return _bent(stack)
    missing = sum(max(0, round(float(gaps[i]) / usual) - 1) for i in holes)
    names = [f"{gaps[i]:.2f} mm between {stack[i].file.name} and {stack[i + 1].file.name}" for i in holes]
    lost = f"about {missing} slice(s) are missing" if missing else "the distances of the slices differ"
    message = f"{lost[0].upper()}{lost[1:]}: usually {usual:.2f} mm, but {_some(names)}. Export the series again in full."
    return Problem(folder_of(stack), "nonuniform_spacing", message)


def _bent(stack: list[Plane]) -> Problem | None:
    """Slices may be sheared by a tilted gantry, but each must lie within half a pixel of where the affine says."""
    places = [plane.place for plane in stack]
    straight = np.outer(np.arange(len(places)), step_of(places)) + places[0].position
    off = np.linalg.norm(np.array([place.position for place in places]) - straight, axis=1)
    worst = int(off.argmax())
    if off[worst] <= 0.5 * min(stack[0].spacing):
        return None
    message = f"The slices do not lie in a straight line: {stack[worst].file.name} is {off[worst]:.2f} mm beside it."
    return Problem(folder_of(stack), "nonuniform_spacing", f"{message} Export the series again from the scanner.")


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return "; ".join(names[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def folder_of(planes: Sequence[Plane]) -> str:
    """The deepest folder below the root that holds all the files; "." for the root itself."""
    parents = {posixpath.dirname(plane.file.name) for plane in planes}
    return (posixpath.commonpath(parents) if "" not in parents else "") or "."
