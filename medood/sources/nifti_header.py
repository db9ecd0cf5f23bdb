"""The header of a NIfTI file: which voxels lie where, judged before any memory is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import nibabel as nib
import numpy as np

from medood.core.errors import InputError

LONGEST = 540
"""Bytes of the longer of the two kinds of headers."""

_SINGLE_FILE, _PAIR = (b"n+1", b"n+2"), (b"ni1", b"ni2")
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # NIFTI_UNITS_METER and _MICRON; 2 and anything unknown is mm
_LONGER = 0.01  # by which a quaternion may be longer than 1; rounding to float32 makes up to 1e-6, to few digits 1e-3
_SKEWED = 1e-3  # cosine between axes that are not at right angles


@dataclass(frozen=True, eq=False)
class Header:
    """What the header says, checked.

    shape    (slices, rows, columns);  dtype  of the stored numbers;  offset  bytes before them
    scale    (slope, intercept) from stored to true values, None if they are the same
    affine   index (column, row, slice) to RAS millimetres
    placed   whether the file says where it lies, so that millimetres are no guess
    issues   codes of what is odd
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    offset: int
    scale: tuple[float, float] | None
    affine: np.ndarray
    placed: bool
    issues: tuple[str, ...]

    @property
    def bytes_needed(self) -> int:
        """Length of the file, up to its last voxel."""
        return self.offset + prod(self.shape) * self.dtype.itemsize


def parse_header(start: bytes, name: str) -> Header:
    """The header in the first bytes of a file, NIfTI-1 or NIfTI-2 of either byte order. Raises InputError naming `name`."""
    # Unchecked: nibabel's own check prints, mends in silence, and asks for the memory of extensions before anything is known.
    kind = nib.Nifti2Header if nib.Nifti2Header.may_contain_header(start) else nib.Nifti1Header
    if len(start) < kind.sizeof_hdr:
        raise InputError(f"{name}: no NIfTI file, or cut off within its header; copy it again.", "unreadable")
    fields = kind(start[: kind.sizeof_hdr], check=False)
    magic = fields["magic"].item().partition(b"\0")[0]
    if magic in _PAIR:
        raise InputError(f"{name}: the header of a pair of files, whose voxels are elsewhere; convert it to one file.", "unsupported")
    if magic not in _SINGLE_FILE:
        raise InputError(f"{name}: no NIfTI file, whatever its name says; copy it again.", "unreadable")
    shape = _shape(fields, name)
    affine, issues = _place(fields, name)
    placed = int(fields["sform_code"]) > 0 or int(fields["qform_code"]) > 0
    return Header(shape, _dtype(fields, name), _offset(fields, name), _scale(fields, name), affine, placed, issues)


def _dtype(fields: Any, name: str) -> np.dtype:
    code = int(fields["datatype"])
    try:
        dtype = fields.get_data_dtype()
    except (nib.spatialimages.HeaderDataError, KeyError):
        raise InputError(f"{name}: the header names a kind of numbers ({code}) that does not exist; copy it again.", "unreadable") from None
    if dtype.kind not in "iuf":
        raise InputError(f"{name}: holds colour or complex voxels, expected one real number per voxel.", "not_grey")
    return dtype


def _shape(fields: Any, name: str) -> tuple[int, int, int]:
    """(slices, rows, columns). Further axes must be of length 1; a 2-D file is one slice."""
    count, *lengths = (int(n) for n in fields["dim"])
    sizes = lengths[:count] if 1 <= count <= 7 else []
    shown = "x".join(map(str, sizes)) or f"{count} axes"
    if not sizes or min(sizes) < 1:
        raise InputError(f"{name}: the header names {shown} voxels; copy it again.", "truncated")
    if len(sizes) < 2 or any(n != 1 for n in sizes[3:]):
        raise InputError(f"{name}: expected a 3-D volume, found {shown}; save each volume of a time series as a file.", "not_3d")
    columns, rows, slices = (*sizes, 1)[:3]
    return slices, rows, columns


def _offset(fields: Any, name: str) -> int:
    """Bytes before the first voxel; 0 means right behind the header."""
    offset = float(fields["vox_offset"])
    if offset == 0:
        return int(fields.single_vox_offset)
    if not (fields.single_vox_offset <= offset < 2**40 and offset == int(offset)):
        raise InputError(f"{name}: the header says that the voxels begin at byte {offset:g}; copy it again.", "unreadable")
    return int(offset)


def _scale(fields: Any, name: str) -> tuple[float, float] | None:
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or not np.isfinite(slope) or (slope, intercept) == (1, 0):
        return None
    if not np.isfinite(intercept):
        raise InputError(f"{name}: the header's scale of the values has no finite intercept; set scl_inter.", "bad_scale")
    return slope, intercept


def _place(fields: Any, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Index (column, row, slice) to RAS millimetres, and what is odd about it: the sform, else the qform, else the voxel sizes alone."""
    forms = {"sform": _sform(fields), "qform": _qform(fields)}
    said = {form: affine for form, affine in forms.items() if int(fields[f"{form}_code"]) > 0}
    usable = {form: affine for form, affine in said.items() if affine is not None and _is_invertible(affine)}
    if said and not usable:
        raise InputError(f"{name}: the affine of the header is singular or not a number; set a valid sform.", "bad_affine")
    affine = next(iter(usable.values()), None)
    issues = [f"{form}_unusable" for form in said if form not in usable]
    if affine is None:
        issues.append("orientation_unknown")
        affine = _centred(fields)
    elif len(usable) == 2 and _distance(usable["sform"], usable["qform"], fields) > 0.5:
        issues.append("sform_qform_differ")
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SKEWED:
        issues.append("sheared")
    affine[:3] *= _MM_PER_UNIT.get(int(fields["xyzt_units"]) & 7, 1.0)
    return affine, tuple(issues)


def _is_invertible(affine: np.ndarray) -> bool:
    """Whether it gives every voxel a volume, of millimetres, metres or microns."""
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12 and np.abs(affine).max() < 1e12)


def _distance(one: np.ndarray, other: np.ndarray, fields: Any) -> float:
    """How many voxels, of the shortest side, a corner of the volume is away from where the other map puts it."""
    lengths = [int(n) for n in fields["dim"][1:4]]
    corners = np.array([(i, j, k, 1) for i in (0, lengths[0]) for j in (0, lengths[1]) for k in (0, lengths[2])], float)
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max() / np.linalg.norm(one[:3, :3], axis=0).min())


def _sform(fields: Any) -> np.ndarray:
    return np.array([*(fields[row] for row in ("srow_x", "srow_y", "srow_z")), (0, 0, 0, 1)], dtype=np.float64)


def _spacing(fields: Any) -> np.ndarray:
    """Voxel sizes (3,), without signs; 0 and what is no number count as 1."""
    sizes = np.abs(np.array(fields["pixdim"][1:4], dtype=np.float64))
    return np.where(np.isfinite(sizes) & (sizes > 0), sizes, 1.0)


def _qform(fields: Any) -> np.ndarray | None:
    """As nifti_quatern_to_mat44 of the reference implementation; None for a quaternion that is longer than 1 by more than rounding."""
    b, c, d = (float(fields[f"quatern_{letter}"]) for letter in "bcd")
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.linalg.norm([b, c, d]))
        if not length <= 1 + _LONGER:
            return None
        rest = 1 - length**2
        if rest < 1e-7:  # half a turn
            a, b, c, d = 0.0, b / length, c / length, d / length
        else:
            a = rest**0.5
    turn = nib.quaternions.quat2mat((a, b, c, d))
    sizes = _spacing(fields) * (1, 1, -1 if float(fields["pixdim"][0]) < 0 else 1)
    affine = np.eye(4)
    affine[:3, :3] = turn * sizes
    affine[:3, 3] = [float(fields[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine


def _centred(fields: Any) -> np.ndarray:
    """Voxel sizes alone, the middle of the volume at the origin and x to the left, as in Analyze files."""
    sizes = _spacing(fields) * (-1, 1, 1)
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = -sizes * (np.maximum(fields["dim"][1:4].astype(float), 1) - 1) / 2
    return affine
