"""NIfTI volumes."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np

from medood.core.errors import InputError
from medood.core.geometry import Geometry
from medood.core.shield import kind_of as kind_of_error
from medood.core.shield import shield
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.annotation import slice_labels
from medood.sources.content import kind_of_name
from medood.sources.indexing import files_below, index_files, name_of
from medood.sources.nifti_header import LONGEST, Header, parse_header
from medood.sources.recall import recall
from medood.sources.roles import by_case, group_of, is_named_mask

_BLOCK = 1 << 24
_FEW = 32  # different numbers in a label map, at most
_MOST_VOXELS = 1 << 32
_MOST_COMPRESSED = 1032  # bytes that one byte of a deflate stream can stand for, at most


class Nifti:
    """NIfTI volumes (.nii, .nii.gz) in a folder and its subfolders.

    ```
    root/sub-01/anat/sub-01_FLAIR.nii.gz     group sub-01 (the BIDS subject)
    root/train/patient7/flair.nii            group patient7 (the first folder that is no role such as train, normal or imagesTr)
    root/imagesTr/case_001_0000.nii.gz       group case_001 (nnU-Net)
    root/scan.nii.gz                         group scan.nii.gz
    ```
    Masks are listed as problems and not read: files whose name (`_seg`, `_mask`, `brainmask`) or folder (labelsTr, masks) says so, and maps
    of a few whole numbers beside another file of the same name.

    group  what keeps images of one patient together: "subject" as above, "folder" the folder that holds the file, or each "file"
    nan    what to do with voxels that are not numbers: "error", or "zero" to set them to 0 and mark them as padding
    """

    def __init__(
        self, root: Path, *, group: Literal["subject", "folder", "file"] = "subject", nan: Literal["error", "zero"] = "error"
    ) -> None:
        self.root = Path(root)
        self.group = group
        self.nan = nan

    def index(self) -> Index:
        return self.index_of(files_below(self.root))

    def index_of(self, files: Iterable[Path], masks: Mapping[str, str] | None = None) -> Index:
        """The index of some files below the root. Those named in `masks` are masks; without it, those that `masks_in` finds among them."""
        index = index_files(self.root, files, self.entry)
        entries = {entry.id: entry for entry in index.entries}
        masks = masks_in(entries, lambda name: entries[name].files[0]) if masks is None else masks
        problems = [*index.problems]
        for name in [name for name in entries if name in masks]:
            say = f"It holds a few whole numbers, and other files are called {masks[name]} too: a mask."
            problems.append(Problem(name, "mask_file", say))
            del entries[name]
        return Index(self.root, tuple(entries.values()), tuple(sorted(problems, key=lambda p: p.path)))

    def entry(self, path: Path) -> Entry:
        """The entry of one file below the root, from its header. Raises InputError."""
        name = name_of(path, self.root)
        if kind_of_name(path.name) != "nifti":
            raise InputError(f"{name}: expected a NIfTI file (.nii or .nii.gz).", "not_an_image")
        if is_named_mask(name):
            raise InputError(f"{name}: by its name or folder a mask and not an image; rename it if it is one.", "mask_file")
        slices, issues = recall("nifti", path, name, lambda: _slices_and_issues(path, name))
        return Entry(name, (path,), group_of(name, self.group), slices=slices, issues=tuple(issues))

    def read(self, entry: Entry) -> Volume:
        array, geometry = read_nifti(entry.files[0], entry.id)
        bad = ~np.isfinite(array)
        count = int(np.count_nonzero(bad))
        if count and self.nan == "error":
            raise InputError(
                f"{entry.id}: {count} of {array.size} voxels are not finite numbers; mend the file, or set the source's nan to zero.",
                "not_finite",
            )
        array[bad] = 0.0
        return Volume(
            entry,
            array[None],
            geometry,
            slice_labels(array.shape[0], entry.label),
            padding=bad if count else None,
            issues=(f"not_finite_set_to_zero:{count}",) if count else (),
        )


def read_nifti(path: Path, name: str) -> tuple[np.ndarray, Geometry]:
    """Voxels float32 [slice, row, column] with the header's scale applied, not checked for NaN, and where they lie.

    The file is read to its last voxel and one step further, so a gzip checksum that does not fit is noticed. Raises InputError naming
    `name`.
    """
    header = _header(path, name)
    with shield(name, partial(_damaged, name)):
        stored = np.frombuffer(_content(path, header.bytes_needed), header.dtype, prod(header.shape), header.offset)
        voxels = _true_values(stored.reshape(header.shape), header.scale)
    return voxels, Geometry(header.affine, header.shape, spacing_known=header.placed)


def masks_in(names: Iterable[str], place: Callable[[str], Path]) -> dict[str, str]:
    """Names of volumes that are masks, and their cases: a map of few whole numbers whose case has another volume is a mask."""
    masks: dict[str, str] = {}
    for case, found in by_case(names).items():
        maps = [name for name in found if recall("label_map", place(name), name, partial(_is_label_map, place(name), name))]
        if len(maps) < len(found):
            masks |= dict.fromkeys(maps, case)
    return masks


def _slices_and_issues(path: Path, name: str) -> tuple[int, tuple[str, ...]]:
    header = _header(path, name)
    return header.shape[0], header.issues


def _is_label_map(path: Path, name: str) -> bool:
    """Whether the voxels are whole numbers of few values; a real image is known after its first slices. False for a damaged file."""
    seen = np.zeros(0)
    try:
        header = _header(path, name)
        if header.dtype.kind not in "iu" or header.scale is not None:
            return False
        step = header.dtype.itemsize << 18
        with shield(name), _opened(path) as file:
            file.seek(header.offset)
            while (block := file.read(step)) and len(seen) <= _FEW:
                whole = np.frombuffer(block[: len(block) // header.dtype.itemsize * header.dtype.itemsize], header.dtype)
                seen = np.union1d(seen, whole)
    except InputError:
        return False
    return len(seen) <= _FEW


def _damaged(name: str, error: BaseException) -> InputError:
    return InputError(f"{name}: the file is damaged or cut off ({kind_of_error(error)}); copy it again.", "truncated")


def _content(path: Path, length: int) -> bytearray:
    """The first bytes of the file, unpacked; memory grows with what is there, not with what a header asks for."""
    content = bytearray()
    with _opened(path) as file:
        while len(content) < length:
            block = file.read(min(_BLOCK, length - len(content)))
            if not block:
                raise EOFError
            content += block
        file.read(1)  # one step further makes gzip compare its checksum
    return content


def _true_values(stored: np.ndarray, scale: tuple[float, float] | None) -> np.ndarray:
    """float32; scaled in float64, one slice at a time. What is too large for float32 becomes infinite."""
    values = np.empty(stored.shape, np.float32)
    with np.errstate(all="ignore"):
        for number, plane in enumerate(stored):
            values[number] = plane if scale is None else plane.astype(np.float64) * scale[0] + scale[1]
    return values


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if _packed(path) else path.open("rb")


def _packed(path: Path) -> bool:
    """Whether the content is gzip, whatever the name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _header(path: Path, name: str) -> Header:
    """The header, checked against the size of the file. Raises InputError."""
    with shield(name, lambda error: InputError(f"{name}: no NIfTI file, or not readable ({kind_of_error(error)}); copy it again.")):
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{name}: the file is empty (0 bytes); copy it again.", "empty")
        with _opened(path) as file:
            header = parse_header(file.read(LONGEST), name)
        if header.bytes_needed > size * (_MOST_COMPRESSED if _packed(path) else 1):
            shape = "x".join(str(n) for n in reversed(header.shape))
            raise InputError(f"{name}: {size} bytes cannot hold the {shape} voxels that the header names; copy it again.", "truncated")
        if prod(header.shape) > _MOST_VOXELS:
            raise InputError(f"{name}: more voxels than can be read at once; cut the volume into smaller ones.", "too_large")
    return header
