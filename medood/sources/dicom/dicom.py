"""DICOM files and series."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medood.core.shield import shield
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.annotation import slice_labels
from medood.sources.dicom.entries import DicomEntry, entries_of, groups
from medood.sources.dicom.headers import find_files, read_header
from medood.sources.dicom.lesions import with_lesions
from medood.sources.dicom.library import quiet
from medood.sources.dicom.planes import Plane
from medood.sources.dicom.series import stacks_of
from medood.sources.dicom.structures import read_structures
from medood.sources.dicom.volume import read_volume
from medood.sources.indexing import name_of


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
        entries = entries_of(stacks, groups(planes), self.root)
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
