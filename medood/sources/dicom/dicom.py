"""DICOM files and series."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medood.core.shield import shield
from medood.core.volume import Entry, Index, Origin, Problem, Volume
from medood.sources.annotation import slice_labels
from medood.sources.dicom.headers import find_files, read_header
from medood.sources.dicom.lesions import with_lesions
from medood.sources.dicom.library import quiet
from medood.sources.dicom.planes import Plane
from medood.sources.dicom.series import Stack, folder_of, stacks_of
from medood.sources.dicom.structures import read_structures
from medood.sources.dicom.volume import read_volume
from medood.sources.indexing import name_of


@dataclass(frozen=True)
class DicomEntry(Entry):
    """An entry that says where each slice is found: the number of its file in `files`, and the number of its frame in that file."""

    frames: tuple[tuple[int, int], ...] = ()


class Dicom:
    """DICOM files of any kind in a folder and its subfolders, whatever their names.

    ```
    root/scan/1.dcm ... 192.dcm      one series: entry scan
    root/export/IM001 ... IM400      several series in one folder: entries export#1, export#2 ...
    root/chest/a.dcm                 a radiograph, a photograph, a multi-frame object: entry chest/a.dcm
    ```
    Slices are ordered by their position in the patient. Volumes that share a series, such as echoes and phases, are taken apart. What
    cannot be used is listed as a problem: other files, objects without pixels, files cut off, copies, a series with a hole.

    lesions        names of regions that are lesions, with commas between, `*` for anything: GTV*. They are looked for in the structure sets
                   and segmentations below the root; slices with a part of one are anomalous, the others of the series normal
    on_bad_series  what to do with a series whose slices are not at equal distances: "skip" it as a problem, or use the slices there are
                   as if they were, and say so in the entry's issues ("nearest")
    """

    def __init__(self, root: Path, *, lesions: str = "", on_bad_series: Literal["skip", "nearest"] = "skip") -> None:
        self.root = Path(root)
        self.lesions = tuple(name.strip() for name in lesions.split(",") if name.strip())
        self.on_bad_series = on_bad_series

    def index(self) -> Index:
        planes: list[Plane] = []
        problems: list[Problem] = []
        with quiet():
            for path in find_files(self.root):
                found = read_header(path, name_of(path, self.root))
                if isinstance(found, Problem):
                    problems.append(found)
                else:
                    planes += found
            stacks, wrong = stacks_of(planes, self.on_bad_series)
        entries = _entries(stacks, _groups(planes), self.root)
        if self.lesions:
            entries, problems = with_lesions(entries, problems, self.root, self.lesions)
        problems = sorted(problems + wrong, key=lambda problem: (problem.path, problem.code, problem.message))
        return Index(self.root, tuple(entries), tuple(problems))

    def read(self, entry: Entry) -> Volume:
        """Decodes every slice into physical values. Raises InputError, with a code such as `pixel_decode:ValueError`."""
        frames = entry.frames if isinstance(entry, DicomEntry) else ()
        if not frames:
            frames = tuple((slice_, 0) if len(entry.files) > 1 else (0, slice_) for slice_ in range(entry.slices))
        with quiet(), shield(entry.id):
            volume = read_volume(entry, frames, self.root)
        if self.lesions and entry.mask is not None:
            volume.mask = read_structures(entry.mask, volume.geometry, entry.id, self.lesions)
            volume.labels = slice_labels(len(volume.labels), entry.label, volume.mask)
        return volume

    def draws_mask(self, entry: Entry) -> bool:
        """Whether the mask has to be written anew: it is one choice among the regions of a file."""
        return bool(self.lesions) and entry.mask is not None


def _groups(planes: list[Plane]) -> dict[str, str]:
    """An opaque name for each patient, counted in the order of the files; without a patient's id, a study is a patient."""
    keys = dict.fromkeys(map(_patient_key, planes))
    return {key: f"patient-{number:04d}" for number, key in enumerate(keys, start=1)}


def _patient_key(plane: Plane) -> str:
    file = plane.file
    return f"patient {file.patient}" if file.patient else f"study {file.study_uid or file.series_uid or file.name}"


def _entries(stacks: list[Stack], groups: dict[str, str], root: Path) -> list[Entry]:
    """One entry per stack. Names that several stacks share are numbered in the order of series UID and, within a series, of the stacks."""
    named = sorted(((_name(stack, root), stack.planes[0].file.series_uid, place, stack) for place, stack in enumerate(stacks)))
    shared = Counter(name for name, *_ in named)
    number: Counter[str] = Counter()
    entries = []
    for name, _, _, stack in named:
        number[name] += 1
        numbered = f"{name}#{number[name]}" if shared[name] > 1 else name
        entries.append(_entry(stack, numbered, groups[_patient_key(stack.planes[0])]))
    return sorted(entries, key=lambda entry: entry.id)


def _name(stack: Stack, root: Path) -> str:
    """The folder of a series; the file of an image that stands alone or of a multi-frame object."""
    first = stack.planes[0]
    alone = first.place is None or first.file.frames > 1
    folder = folder_of(stack.planes)
    return first.file.name if alone else root.resolve().name or "root" if folder == "." else folder


def _entry(stack: Stack, name: str, group: str) -> DicomEntry:
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
