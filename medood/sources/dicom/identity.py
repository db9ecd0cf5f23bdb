"""Which files belong to one series and which are copies: by patient, study, series and frame of reference, never by a UID alone.

Anonymisers give one UID to many objects, or many UIDs to one series. Position and content then tell what is what, and an issue code
says so.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from medood.core.errors import InputError
from medood.core.shield import shield
from medood.core.volume import Problem
from medood.sources.dicom.decoding.frames import Frames
from medood.sources.dicom.headers import open_file
from medood.sources.dicom.placement import alike, along_normal, repeats, uneven_gaps
from medood.sources.dicom.planes import File, Plane
from medood.sources.recall import recall

_FEWEST = 3  # slices that can be seen to lie at equal distances


@dataclass(frozen=True)
class Series:
    """Planes that belong together, and codes of what is odd about that."""

    planes: tuple[Plane, ...]
    issues: tuple[str, ...] = ()


def without_copies(planes: Iterable[Plane]) -> tuple[list[Plane], list[Problem]]:
    """Leaves the first of files with one SOP instance UID that agree in everything that is used, their content included."""
    once, problems = [], []
    for same in grouped(planes, lambda plane: plane.file.sop_uid or plane.file.name):
        kept: list[list[Plane]] = []
        for file in grouped(same, lambda plane: plane.file.name):
            original = next((other for other in kept if _is_copy(file, other)), None)
            if original is None:
                kept.append(file)
            else:
                message = f"A copy of {original[0].file.name} (the same SOP instance); it is left out. Remove one of the two."
                problems.append(problem_of(file, "duplicate_sop_instance", message, file[0].file.name))
        reused = (f"sop_uid_reused:{len(kept)}",) if len(kept) > 1 else ()
        once += [_marked(plane, reused) for file in kept for plane in file]
    return once, problems


def series_of(planes: list[Plane]) -> list[Series]:
    """Single frames of a series belong together; a multi-frame object is a series of its own, and so are its parts if it was cut up."""
    owners: dict[str, set[Hashable]] = {}
    for plane in planes:
        owners.setdefault(plane.file.series_uid, set()).add((plane.file.patient, plane.file.study_uid))
    found = []
    for group in grouped(planes, _series_key):
        uid = group[0].file.series_uid
        reused = (f"series_uid_reused:{len(owners[uid])}",) if uid and len(owners[uid]) > 1 else ()
        found += [Series(part.planes, reused + part.issues) for part in _by_frame_of_reference(group)]
    found = _joined(found, "series_uid_per_slice", lambda file: (file.study_uid, file.frame_of_reference))
    return _joined(found, "study_uid_per_slice", lambda file: (file.series_uid, file.frame_of_reference))


def grouped(planes: Iterable[Plane], key: Callable[[Plane], Hashable]) -> list[list[Plane]]:
    """Planes with one key together, in the order of the first of each."""
    groups: dict[Hashable, list[Plane]] = {}
    for plane in planes:
        groups.setdefault(key(plane), []).append(plane)
    return list(groups.values())


def problem_of(planes: Iterable[Plane], code: str, message: str, path: str) -> Problem:
    """A problem of planes of one series: it keeps the UIDs and lists the files."""
    files = {plane.file.name: plane.file for plane in planes}
    first = next(iter(files.values()))
    return Problem(path, code, message, first.study_uid, first.series_uid, tuple(files))


def _series_key(plane: Plane) -> Hashable:
    file = plane.file
    alone = file.concatenation or file.sop_uid or file.name if file.frames > 1 else ""
    return file.patient, file.study_uid, file.series_uid or file.name, alone


def _is_copy(file: list[Plane], other: list[Plane]) -> bool:
    if [_shown(plane) for plane in file] != [_shown(plane) for plane in other]:
        return False
    a, b = file[0].file, other[0].file
    try:
        return content_of(a, decode=a.syntax != b.syntax) == content_of(b, decode=a.syntax != b.syntax)
    except InputError:
        return False


def _shown(plane: Plane) -> Hashable:
    file = plane.file
    return file.patient, file.study_uid, file.series_uid, plane.rows, plane.columns, plane.place, plane.phase, plane.stack


def content_of(file: File, decode: bool) -> str:
    """A digest of the pixels, of stored values where they are compressed in different ways. Raises InputError."""
    ask = partial(_content, file, decode)
    return ask() if decode else recall("content", file.path, file.name, ask)


def _content(file: File, decode: bool) -> str:
    digest = hashlib.sha256()
    with shield(file.name):
        dataset, layout, _ = open_file(Path(file.path), file.name)
        if decode:
            frames = Frames(dataset, layout)
            for number in range(layout.frames):
                stored = frames.decode(number).stored
                digest.update(np.ascontiguousarray(stored, stored.dtype.newbyteorder("<")).data)
        else:
            encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
            digest.update(dataset[layout.keyword].value[: None if encapsulated else layout.length])  # without padding
    return digest.hexdigest()


def _marked(plane: Plane, issues: tuple[str, ...]) -> Plane:
    return replace(plane, file=replace(plane.file, issues=plane.file.issues + issues)) if issues else plane


def _by_frame_of_reference(planes: list[Plane]) -> list[Series]:
    """Slices with different frames of reference do not lie beside each other, unless each has one of its own: then they say nothing."""
    named = Counter(plane.file.frame_of_reference for plane in planes if plane.place and plane.file.frame_of_reference)
    if len(named) < 2:
        return [Series(tuple(planes))]
    if len(named) == len(planes) >= _FEWEST:
        return [Series(tuple(planes), ("frame_of_reference_per_slice",))]
    parts = grouped(planes, lambda plane: plane.file.frame_of_reference)
    return [Series(tuple(part), (f"frames_of_reference:{len(parts)}",)) for part in parts]


def _joined(series: list[Series], code: str, shared: Callable[[File], tuple[str, str]]) -> list[Series]:
    """Puts series of one slice together where all else says that they are one: `shared` UIDs, patient, description, number, positions.

    Those that agree in this but do not lie at equal distances stay apart and say that there are others.
    """
    single: dict[Hashable, list[Series]] = {}
    joined = []
    for one in series:
        file = one.planes[0].file
        if len(one.planes) == 1 and one.planes[0].place and all(shared(file)):
            key = (*shared(file), file.patient, file.modality, file.description, file.number, file.localizer)
            single.setdefault(key, []).append(one)
        else:
            joined.append(one)
    for ones in single.values():
        planes = [one.planes[0] for one in ones]
        if len(planes) < _FEWEST:
            joined += ones
        elif _are_even(planes):
            joined.append(Series(tuple(planes), (f"{code}:{len(planes)}",)))
        else:
            joined += [Series(one.planes, (*one.issues, f"single_slice_series:{len(ones)}")) for one in ones]
    return joined


def _are_even(planes: list[Plane]) -> bool:
    if not all(alike(planes[0], plane) for plane in planes) or repeats(planes):
        return False
    return not len(uneven_gaps(np.diff(np.sort(along_normal(planes)))))
