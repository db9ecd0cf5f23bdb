"""NIfTI volumes."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import BinaryIO, Literal

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from medood.core.errors import InputError
from medood.core.geometry import Geometry
from medood.core.volume import Entry, Index, Volume
from medood.sources.annotation import slice_labels
from medood.sources.content import kind_of_name
from medood.sources.indexing import files_below, group_of, index_files, name_of

_MASK_NAME = re.compile(r"[_-](d?seg|segmentation|mask|labels?)(?![a-z])|brainmask", re.IGNORECASE)
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # NIFTI_UNITS_METER and _MICRON; 2 and anything unknown is mm
_BROKEN = (OSError, EOFError, ValueError, OverflowError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)
_HEADER_BYTES = 540
_MOST_COMPRESSED = 1032  # bytes that one byte of a deflate stream can stand for, at most


class Nifti:
    """NIfTI volumes (.nii, .nii.gz) in a folder and its subfolders.

    ```
    root/sub-01/anat/sub-01_FLAIR.nii.gz     group sub-01 (the BIDS subject)
    root/patient7/flair.nii                  group patient7 (the first folder)
    root/scan.nii.gz                         group scan.nii.gz
    ```
    Files whose names say that they are masks (`_seg`, `_mask`, `brainmask`) are listed as problems and not read.

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
        return index_files(self.root, files_below(self.root), self.entry)

    def entry(self, path: Path) -> Entry:
        """The entry of one file below the root, from its header. Raises InputError."""
        name = name_of(path, self.root)
        if kind_of_name(path.name) != "nifti":
            raise InputError(f"{name}: expected a NIfTI file (.nii or .nii.gz).", "not_an_image")
        if _MASK_NAME.search(path.name):
            raise InputError(f"{name}: by its name a mask and not an image; rename it if it is one.", "mask_file")
        _, header = _header(path, name)
        return Entry(name, (path,), group_of(name, self.group), slices=_shape(header, name)[0], issues=_oddities(header))

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
    """Voxels float32 [slice, row, column] with scl_slope and scl_inter applied, not checked for NaN, and where they lie.

    The file is read to its end, so a gzip checksum that does not fit is noticed. Raises InputError naming `name`.
    """
    image_class, header = _header(path, name)
    try:
        with _opened(path) as file:
            content = file.read(_bytes_needed(header))
            file.read(1)  # one step further makes gzip compare its checksum
        array = image_class.from_bytes(content).get_fdata(dtype=np.float32, caching="unchanged")
    except _BROKEN as error:
        raise InputError(f"{name}: the file is damaged or cut off ({type(error).__name__}); copy it again.", "truncated") from error
    shape = _shape(header, name)
    voxels = np.array(array.reshape(shape[::-1], order="F").T, dtype=np.float32, order="C")
    placed = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    return voxels, Geometry(_affine(header, name), shape, spacing_known=placed)


def _packed(path: Path) -> bool:
    """Whether the content is gzip, whatever the name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if _packed(path) else path.open("rb")


def _header(path: Path, name: str) -> tuple[type[nib.Nifti1Image], nib.Nifti1Header]:
    """The class that reads the file and its header, checked for what would make the voxels unusable. Raises InputError."""
    try:
        size = path.stat().st_size
        with _opened(path) as file:
            start = file.read(_HEADER_BYTES)
            file.seek(0)
            image_class = nib.Nifti2Image if nib.Nifti2Header.may_contain_header(start) else nib.Nifti1Image
            header = image_class.header_class.from_fileobj(file)
        dtype, needed = header.get_data_dtype(), _bytes_needed(header)
    except _BROKEN as error:
        empty = path.is_file() and path.stat().st_size == 0
        wrong = "the file is empty (0 bytes)" if empty else "no NIfTI file, cut off within its header, or not readable"
        raise InputError(f"{name}: {wrong}; copy it again.", "empty" if empty else "unreadable") from error
    if dtype.kind not in "iuf":
        raise InputError(f"{name}: holds colour or complex voxels, expected one real number per voxel.", "not_grey")
    if min(_shape(header, name)) < 1 or needed > size * (_MOST_COMPRESSED if _packed(path) else 1):
        shape = "x".join(str(n) for n in header.get_data_shape())
        raise InputError(f"{name}: {size} bytes cannot hold the {shape} voxels that the header names; copy it again.", "truncated")
    _affine(header, name)
    return image_class, header


def _shape(header: nib.Nifti1Header, name: str) -> tuple[int, int, int]:
    """(slices, rows, columns). Further axes must be of length 1; a 2-D file is one slice."""
    sizes = [int(n) for n in header.get_data_shape()]
    if len(sizes) < 2 or any(n != 1 for n in sizes[3:]):
        shape = "x".join(str(n) for n in sizes)
        raise InputError(f"{name}: expected a 3-D volume, found {shape}; save each volume of a time series as a file.", "not_3d")
    columns, rows, slices = (*sizes, 1)[:3]
    return slices, rows, columns


def _bytes_needed(header: nib.Nifti1Header) -> int:
    voxels = int(np.prod([int(n) for n in header.get_data_shape()], dtype=object))
    return int(header["vox_offset"]) + voxels * header.get_data_dtype().itemsize


def _affine(header: nib.Nifti1Header, name: str) -> np.ndarray:
    """Index (column, row, slice) to RAS millimetres: the sform, else the qform, else the voxel sizes alone."""
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{name}: the affine of the header is singular; set a valid sform.", "bad_affine")
    return affine


def _oddities(header: nib.Nifti1Header) -> tuple[str, ...]:
    """Issue codes of a readable header."""
    sform, qform = header.get_sform(coded=True)[0], _qform(header)
    if sform is None and int(header["qform_code"]) == 0:
        return ("orientation_unknown",)
    if sform is not None and qform is not None and not np.allclose(sform, qform, atol=0.1):
        return ("sform_qform_differ",)
    return ()


def _qform(header: nib.Nifti1Header) -> np.ndarray | None:
    try:
        return header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError):  # a quaternion longer than 1
        return None
