"""From the planes of many files to stacks: in which order they lie, and whether they fill space evenly."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medood.core.errors import InputError
from medood.core.shield import kind_of, shield
from medood.core.volume import Problem
from medood.sources.dicom.identity import Series, grouped, problem_of, series_of, without_copies
from medood.sources.dicom.phases import phases_of
from medood.sources.dicom.placement import alike, along_normal, places_of, same_position, step_of, tilt_of, uneven_gaps
from medood.sources.dicom.planes import PHASES, Plane

OnBadSeries = Literal["skip", "nearest"]

_TILTED = 0.2  # degrees
_CROSS_SECTIONS = frozenset({"CT", "MR", "PT", "NM"})
_NAMES_SHOWN = 4
_COMPARED = ", ".join(names[0] for names in PHASES)


@dataclass(frozen=True)
class Stack:
    """Planes of one volume, in the order of its slices, and codes of what is odd about them."""

    planes: tuple[Plane, ...]
    issues: tuple[str, ...]


def stacks_of(planes: Iterable[Plane], on_bad_series: OnBadSeries) -> tuple[list[Stack], list[Problem]]:
    """Sorts the planes of all files into stacks, and names the planes and series that cannot be used."""
    once, problems = without_copies(planes)
    stacks: list[Stack] = []
    for series in series_of(once):
        folder = folder_of(series.planes)
        try:
            with shield(
                folder, lambda error: InputError(f"The headers make no sense together ({kind_of(error)}). Export the series again.")
            ):
                found, wrong = _series_stacks(series, on_bad_series)
        except InputError as error:
            found, wrong = [], [problem_of(series.planes, error.code, str(error), folder)]
        stacks += found
        problems += wrong
    return stacks, problems


def _senseless(error: BaseException) -> InputError:
    return InputError(f"The headers make no sense together ({kind_of(error)}). Export the series again.")


def _series_stacks(series: Series, on_bad_series: OnBadSeries) -> tuple[list[Stack], list[Problem]]:
    planes, problems = _without_localizers(series.planes)
    excluded = len(problems)
    placed = _grouped_by_geometry([plane for plane in planes if plane.place])
    loose = grouped([plane for plane in planes if not plane.place], lambda plane: plane.file.name)
    series_issues = {
        "mixed_geometry": len(placed) + bool(loose) > 1,
        f"localizer_excluded:{excluded}": excluded > 0,
        **dict.fromkeys(series.issues, True),
    }
    stacks = [Stack(tuple(group), _issues(group, series_issues)) for group in loose]
    for group in placed:
        phases = phases_of(group)
        issues = series_issues | {f"multiple_volumes_in_series:{len(phases)}": len(phases) > 1}
        for phase in phases:
            stack, oddities, wrong = _even_stack(phase, on_bad_series)
            problems += wrong
            if stack:
                stacks.append(Stack(tuple(stack), _issues(stack, issues | oddities)))
    return stacks, problems


def _issues(planes: Sequence[Plane], of_the_series: dict[str, bool]) -> tuple[str, ...]:
    first = planes[0]
    tilt = tilt_of(places_of(planes)) if first.place and len(planes) > 1 else 0.0
    found = of_the_series | {
        f"gantry_tilt:{tilt:.1f}": tilt > _TILTED,
        "imager_spacing_used": first.measured == "imager",
        "localizer": first.file.localizer,
        "no_patient_geometry": first.place is None and first.file.modality in _CROSS_SECTIONS,
        "per_slice_rescale": len({plane.rescale for plane in planes}) > 1,
    }
    of_the_files = {issue for plane in planes for issue in plane.file.issues}
    return tuple(sorted(of_the_files | {issue for issue, present in found.items() if present}))


def _without_localizers(planes: Sequence[Plane]) -> tuple[list[Plane], list[Problem]]:
    """Leaves out overview images that lie inside a series of others."""
    others = [plane for plane in planes if not plane.file.localizer]
    if not others:
        return [*planes], []
    message = "An overview image (localizer) inside a series of slices; it is left out of their volume."
    files = grouped([plane for plane in planes if plane.file.localizer], lambda plane: plane.file.name)
    return others, [problem_of(file, "localizer_excluded", message, file[0].file.name) for file in files]


def _grouped_by_geometry(planes: list[Plane]) -> list[list[Plane]]:
    groups: list[list[Plane]] = []
    for plane in planes:
        group = next((group for group in groups if alike(group[0], plane)), None)
        if group is None:
            groups.append([plane])
        else:
            group.append(plane)
    return groups


def _even_stack(planes: list[Plane], on_bad_series: OnBadSeries) -> tuple[list[Plane], dict[str, bool], list[Problem]]:
    """Planes in order of position, codes of what is wrong with their distances, and problems.

    By the rule "skip" a stack with anything wrong has no planes; by "nearest" it keeps them all but those at a position already taken.
    """
    along = along_normal(planes)
    stack = [planes[i] for i in np.argsort(along, kind="stable")]
    double = np.diff(np.sort(along)) <= same_position(along)
    problems = []
    if double.any():
        problems.append(_doubled(stack, double))
        stack = [stack[0], *(plane for plane, again in zip(stack[1:], double, strict=True) if not again)]
    uneven = _uneven(stack, np.diff(along_normal(stack))) if len(stack) > 1 else None
    if on_bad_series == "skip" and (wrong := problems or ([uneven] if uneven else [])):
        return [], {}, wrong
    return stack, {"duplicate_positions": bool(problems), "nonuniform_spacing": uneven is not None}, problems


def _doubled(stack: list[Plane], double: np.ndarray) -> Problem:
    names = [f"{stack[i].file.name} and {stack[i + 1].file.name}" for i in np.flatnonzero(double)]
    message = f"{len(names)} slice(s) lie where another one lies: {_some(names)}. None of these makes whole volumes of them: {_COMPARED}."
    return _series_problem(stack, "duplicate_positions", f"{message} Remove what does not belong to the series.")


def _uneven(stack: list[Plane], gaps: np.ndarray) -> Problem | None:
    """What is wrong with a stack whose slices are not at equal distances, or not in line."""
    usual = float(np.median(gaps))
    holes = uneven_gaps(gaps)
    if not len(holes):
        return _bent(stack)
    missing = sum(max(0, round(float(gaps[i]) / usual) - 1) for i in holes)
    names = [f"{gaps[i]:.2f} mm between {stack[i].file.name} and {stack[i + 1].file.name}" for i in holes]
    lost = f"about {missing} slice(s) are missing" if missing else "the distances of the slices differ"
    message = f"{lost[0].upper()}{lost[1:]}: usually {usual:.2f} mm, but {_some(names)}. Export the series again in full."
    return _series_problem(stack, "nonuniform_spacing", message)


def _bent(stack: list[Plane]) -> Problem | None:
    """Slices may be sheared by a tilted gantry, but each must lie within half a pixel of where the affine says."""
    places = places_of(stack)
    straight = np.outer(np.arange(len(places)), step_of(places)) + places[0].position
    off = np.linalg.norm(np.array([place.position for place in places]) - straight, axis=1)
    worst = int(off.argmax())
    if off[worst] <= 0.5 * min(stack[0].spacing):
        return None
    message = f"The slices do not lie in a straight line: {stack[worst].file.name} is {off[worst]:.2f} mm beside it."
    return _series_problem(stack, "nonuniform_spacing", f"{message} Export the series again from the scanner.")


def _series_problem(stack: list[Plane], code: str, message: str) -> Problem:
    return problem_of(stack, code, message, folder_of(stack))


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return "; ".join(names[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def folder_of(planes: Sequence[Plane]) -> str:
    """The deepest folder below the root that holds all the files; "." for the root itself."""
    parents = {posixpath.dirname(plane.file.name) for plane in planes}
    return (posixpath.commonpath(parents) if "" not in parents else "") or "."
