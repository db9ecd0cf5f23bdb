"""What sources deliver: entries from headers alone, and volumes once pixels are read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from medood.core.geometry import Geometry


@dataclass(frozen=True)
class Origin:
    """Where an entry comes from, without any identifier of a person. UIDs are there because users must join on them.

    weighting  of an MR image: T1, T2, PD, FLAIR, DWI, as far as it is known;  body_part  such as head or chest
    view       of a radiograph: frontal, lateral, or as DICOM says it;  kvp  peak kilovoltage, 0 where unknown
    """

    modality: str = ""
    manufacturer: str = ""
    weighting: str = ""
    body_part: str = ""
    view: str = ""
    kvp: float = 0.0
    study_uid: str = ""
    series_uid: str = ""
    sop_uids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One image file or one series, as its headers describe it; no pixels.

    id      unique and stable within the source, safe to write: a path relative to the source's root, with `/`; for a DICOM
            series the folder of its files and a number when a folder holds several
    files   the files to decode, in the order of the slices
    group   key of the patient (never the patient's own id): splits, calibration and intervals keep a group together
    slices  how many slices `read` will deliver
    label   0 normal, 1 anomalous, None unknown or known only per slice after reading
    part    "train", "val" or "test" where the user's table says so
    mask    file of the lesion mask, if any
    issues  codes of what is odd but not fatal, such as `gantry_tilt:15.0` or `imager_spacing_used`
    class_name  what the entry shows besides being normal or not (a view, a digit), where the source or the user's table says so
    bytes_per_image  what a slice takes in its file, where the files hold other things too; None: their sizes tell
    """

    id: str
    files: tuple[Path, ...]
    group: str
    slices: int = 1
    label: int | None = None
    part: str | None = None
    mask: Path | None = None
    origin: Origin = Origin()
    issues: tuple[str, ...] = ()
    bytes_per_image: float | None = None
    class_name: str | None = None

    @property
    def mark(self) -> str | None:
        """By which the image is known again, as another may lie at its place later: of a DICOM series its UIDs, otherwise the sizes of its
        files; None where those are not at hand."""
        if self.origin.series_uid:
            told = [self.origin.series_uid, *sorted(self.origin.sop_uids)]
        else:
            try:
                told = [str(path.stat().st_size) for path in self.files]
            except OSError:
                return None
        return hashlib.blake2b("\n".join(told).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Problem:
    """Something in the folder that cannot be used: relative path, code, and a sentence that neither repeats the path nor names a person.

    A refused DICOM series keeps its UIDs, for users join on them, and lists its files by their paths relative to the root.
    """

    path: str
    code: str
    message: str
    study_uid: str = ""
    series_uid: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """Everything found under a root: what can be read, sorted by id, and what cannot, with the reason."""

    root: Path
    entries: Sequence[Entry]
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class Voi:
    """A display transform of DICOM (PS3.3 C.11.2), kept apart from the values; a pipeline applies it only when asked to.

    Either a window (centre, width, function "LINEAR" | "LINEAR_EXACT" | "SIGMOID") or a table `lut` whose entry 0 belongs to value `first`.
    """

    centre: float = 0.0
    width: float = 0.0
    function: str = "LINEAR"
    lut: np.ndarray | None = field(default=None, compare=False)
    first: int = 0


@dataclass(eq=False)
class Volume:
    """A decoded entry in physical values: HU for CT, the value after the modality LUT for MR, CR and DX, 0..255 for RGB photographs.

    image    float32 (channels, slices, rows, columns), finite; a photograph or radiograph is a volume of one slice.
             MONOCHROME1 is already inverted: low is dark everywhere
    geometry of (slices, rows, columns)
    labels   int8 (slices,): 0 normal, 1 anomalous, -1 unknown or not to be used either way
    mask     uint8 (slices, rows, columns), 1 in the lesion; None if unknown
    padding  bool (slices, rows, columns), True where the scanner recorded no signal; None if there is none
    voi      one per slice, or None
    issues   codes found while decoding, added to those of the entry
    """

    entry: Entry
    image: np.ndarray
    geometry: Geometry
    labels: np.ndarray
    mask: np.ndarray | None = None
    padding: np.ndarray | None = None
    voi: Sequence[Voi] | None = None
    issues: tuple[str, ...] = ()


@runtime_checkable
class ChecksTraining(Protocol):
    """A source whose entries can be fit for scoring and not for training."""

    def check_training(self, entries: Sequence[Entry]) -> None:
        """Raises MedoodError when these entries cannot be trained on."""
        ...


class Source(Protocol):
    """Files to volumes. `index` reads headers only and is sorted; `read` decodes an entry once for all its slices."""

    def index(self) -> Index: ...

    def read(self, entry: Entry) -> Volume:
        """Raises InputError with a code if the entry cannot be decoded."""
        ...
