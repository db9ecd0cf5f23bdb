"""Entries of stacks: what they are called, and whose they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medood.core.volume import Entry, Origin
from medood.sources.dicom.planes import Plane
from medood.sources.dicom.series import Stack, folder_of


@dataclass(frozen=True)
class DicomEntry(Entry):
    """An entry that says where each slice is found: the number of its file in `files`, and the number of its frame in that file."""

    frames: tuple[tuple[int, int], ...] = ()


def groups(planes: list[Plane]) -> dict[str, str]:
    """An opaque name for each patient, counted in the order of the files."""
    keys = dict.fromkeys(map(patient_key, planes))
    return {key: f"patient-{number:04d}" for number, key in enumerate(keys, start=1)}


def patient_key(plane: Plane) -> str:
    """The same for every plane of a patient; without a patient's id, a study is one. It may hold the id and never leaves the source."""
    file = plane.file
    return f"patient {file.patient}" if file.patient else f"study {file.study_uid or file.series_uid or file.name}"


def entries_of(stacks: list[Stack], groups: dict[str, str], root: Path) -> list[Entry]:
    """One entry per stack. Names that several share are numbered by `series_order` and, within a series, in the order of the stacks."""
    named = sorted((stack_name(stack, root), series_order(stack), place) for place, stack in enumerate(stacks))
    shared = Counter(name for name, *_ in named)
    number: Counter[str] = Counter()
    entries = []
    for name, _, place in named:
        number[name] += 1
        numbered = f"{name}#{number[name]}" if shared[name] > 1 else name
        entries.append(entry_of(stacks[place], numbered, groups[patient_key(stacks[place].planes[0])]))
    return sorted(entries, key=lambda entry: entry.id)


def series_order(stack: Stack) -> tuple[str, str]:
    """The UID of the series; where there is none, the first of the files tells series apart."""
    uid = stack.planes[0].file.series_uid
    return uid, "" if uid else min(plane.file.name for plane in stack.planes)


def stack_name(stack: Stack, root: Path) -> str:
    """The folder of a series; the file of an image that stands alone or of a multi-frame object."""
    first = stack.planes[0]
    alone = first.place is None or first.file.frames > 1
    folder = folder_of(stack.planes)
    return first.file.name if alone else root.resolve().name or "root" if folder == "." else folder


def entry_of(stack: Stack, name: str, group: str) -> DicomEntry:
    files = list(dict.fromkeys(plane.file.path for plane in stack.planes))
    number = {path: i for i, path in enumerate(files)}
    first = stack.planes[0].file
    return DicomEntry(
        id=name,
        files=tuple(files),
        group=group,
        slices=len(stack.planes),
        origin=Origin(
            modality=first.modality,
            manufacturer=first.manufacturer,
            weighting=first.weighting,
            body_part=first.body_part,
            view=first.view,
            kvp=first.kvp,
            study_uid=first.study_uid,
            series_uid=first.series_uid,
            sop_uids=tuple(plane.file.sop_uid for plane in stack.planes),
        ),
        issues=stack.issues,
        frames=tuple((number[plane.file.path], plane.frame) for plane in stack.planes),
    )
