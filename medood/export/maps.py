"""Maps on disk: in the geometry of their image as NRRD or NIfTI, and as 16-bit PNG for pictures."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.files.atomic import atomic_file
from medood.core.geometry import Geometry

if TYPE_CHECKING:
    import nibabel as nib

_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # RAS to LPS and back
_LARGEST_SHEAR = 1e-3  # cosine between axes that NIfTI readers may drop: 0.1 mm over 20 cm
_Z_RLE = 3
_FLAGS = ("spacing_known", "in_patient")
_TYPES = {"f4": "float", "i2": "short", "u1": "unsigned char"}


def write_map(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write a map (slices, rows, columns) as float32, by the suffix of `path`: `.nrrd`, or `.nii.gz` / `.nii`.

    Raises InputError when the map is not finite, and MedoodError when it is not of the geometry's shape, when the suffix is another, and
    when NIfTI is asked for a sheared grid (gantry tilt): NIfTI readers straighten it without a word and put the map in the wrong place.
    """
    array = np.asarray(array, np.float32)
    if array.shape != geometry.shape:
        raise MedoodError(f"The map for {path.name} has (slices, rows, columns) {array.shape}, its geometry {geometry.shape}.")
    if not np.isfinite(array).all():
        raise InputError(f"The map for {path.name} has values that are not finite; set pixels without a score to 0.", "not_finite")
    if path.name.endswith(".nrrd"):
        write_nrrd(path, array, geometry)
    elif path.name.endswith((".nii.gz", ".nii")):
        _write_nifti(path, array, geometry)
    else:
        raise MedoodError(f"Maps are written as .nrrd, .nii.gz or .nii, not as {path.name}.")


def write_mask(path: Path, mask: np.ndarray, geometry: Geometry) -> None:
    """Write a bool mask (slices, rows, columns) as 0 and 1 in uint8, by the suffix of `path` as `write_map` does."""
    if path.name.endswith(".nrrd"):
        write_nrrd(path, mask.astype(np.uint8), geometry)
    else:
        _write_nifti(path, mask.astype(np.uint8), geometry)


def write_png16(path: Path, array: np.ndarray, low: float, high: float, *, levels: int = 65536) -> None:
    """Write the map (1, rows, columns) of a single image as 16-bit grey: stored = 65535 * (value - low) / (high - low), rounded to one of
    `levels` values that are spread evenly from 0 to 65535.

    Values outside low..high are clipped. The file does not hold low and high; the list of maps beside it does, and `read_png16` undoes the
    mapping to within (high - low) / (2 * (levels - 1)), and a 65535th for the rounding. Few levels make small files. Runs alone are packed
    (zlib's Z_RLE): ten times as fast as the search for repetitions, which noise does not have.
    """
    from PIL import Image

    if len(array) != 1:
        raise MedoodError(f"A picture holds one slice, found {len(array)}: write a volume as .nrrd.")
    if not np.isfinite(array).all():
        raise InputError(f"The map for {path.name} has values that are not finite; set pixels without a score to 0.", "not_finite")
    unit = np.clip((np.asarray(array[0], np.float64) - low) / (high - low), 0, 1)
    stored = np.rint(np.rint(unit * (levels - 1)) * (65535 / (levels - 1))).astype(np.uint16)
    with atomic_file(path) as part:
        Image.fromarray(stored).save(part, format="PNG", compress_type=_Z_RLE)


def read_png16(path: Path, low: float, high: float) -> np.ndarray:
    """The float32 map (1, rows, columns) that `write_png16` wrote with the same ends."""
    from PIL import Image

    if not path.is_file():
        raise InputError(f"There is no map {path}.", "missing")
    try:
        with Image.open(path) as picture:
            stored = np.asarray(picture)
    except Exception as error:  # Pillow lets a dozen kinds through, from SyntaxError to zlib.error
        raise InputError(f"{path} cannot be read as a picture ({type(error).__name__}).") from error
    if stored.dtype.itemsize < 2:
        raise InputError(f"{path} is not a picture of 16 bit: it is not a map.")
    return (low + stored.astype(np.float64)[np.newaxis] * ((high - low) / 65535)).astype(np.float32)


def read_map(path: Path) -> tuple[np.ndarray, Geometry]:
    """The float32 map (slices, rows, columns) and the geometry that `write_map` wrote. Raises InputError when the file cannot be read."""
    if not path.is_file():
        raise InputError(f"There is no map {path}.", "missing")
    try:
        return _read_nrrd(path) if path.name.endswith(".nrrd") else _read_nifti(path)
    except Exception as error:  # pynrrd and nibabel let a dozen kinds through, from StopIteration to zlib.error
        raise InputError(f"{path} cannot be read as a map ({type(error).__name__}): write it again.") from error


def is_sheared(geometry: Geometry) -> bool:
    """Whether the axes of the grid are not at right angles, as after a gantry tilt; NIfTI cannot hold such a grid."""
    axes = geometry.affine[:3, :3] / np.linalg.norm(geometry.affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _LARGEST_SHEAR)


def coarse_geometry(geometry: Geometry, size: tuple[int, int]) -> Geometry:
    """The geometry of patch maps (slices, h, w) whose patches share the field of view of `geometry` out among them; `size` is (h, w)."""
    slices, rows, columns = geometry.shape
    high, wide = rows / size[0], columns / size[1]
    to_fine = np.diag([wide, high, 1.0, 1.0])
    to_fine[:2, 3] = (wide - 1) / 2, (high - 1) / 2  # the first patch's centre, in pixels from the first pixel's centre
    return replace(geometry, affine=geometry.affine @ to_fine, shape=(slices, *size))


def write_nrrd(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write float32, int16 or uint8 (slices, rows, columns), or RGB (slices, rows, columns, 3), as gzipped NRRD in LPS; shear is kept.

    The header holds the grid and nothing else, not even a time stamp: the same array gives the same bytes. Format: teem's definition of
    NRRD, version 4.
    """
    stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    colour = array.ndim == 4
    directions = (_TO_LPS @ geometry.affine[:3, :3]).T
    fields = [
        "NRRD0004",
        f"type: {_TYPES[stored.dtype.str[1:]]}",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in reversed(array.shape)),
        "space directions: " + " ".join([*(["none"] if colour else []), *(_vector(d) for d in directions)]),
        "kinds: " + " ".join([*(["vector"] if colour else []), "domain", "domain", "domain"]),
        "endian: little",
        "encoding: gzip",
        "space origin: " + _vector(_TO_LPS @ geometry.affine[:3, 3]),
        *(f"{flag}:=false" for flag in _flags_off(geometry)),
    ]
    with atomic_file(path) as part, part.open("wb") as file:
        file.write(("\n".join(fields) + "\n\n").encode("ascii"))
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed:
            packed.write(stored.data)


def _read_nrrd(path: Path) -> tuple[np.ndarray, Geometry]:
    import nrrd

    array, header = nrrd.read(str(path), index_order="C")
    if header.get("space") != "left-posterior-superior" or array.ndim != 3:
        raise ValueError("not a volume in LPS")
    affine = np.eye(4)
    affine[:3, :3] = _TO_LPS @ np.asarray(header["space directions"], float).T
    affine[:3, 3] = _TO_LPS @ np.asarray(header["space origin"], float)
    flags = {flag: header.get(flag) != "false" for flag in _FLAGS}
    return np.asarray(array, np.float32), Geometry(affine, array.shape, **flags)


def nifti_image(array: np.ndarray, geometry: Geometry) -> nib.Nifti1Image:
    """A map in float32, or a mask in uint8, (slices, rows, columns) as an image of nibabel, whose array is (columns, rows, slices)."""
    import nibabel as nib

    image = nib.Nifti1Image(array.T if array.dtype == np.uint8 else np.asarray(array, np.float32).T, geometry.affine)
    image.set_sform(geometry.affine, code=1)
    if not is_sheared(geometry):
        image.set_qform(geometry.affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = " ".join(f"{flag}=false" for flag in _flags_off(geometry))
    return image


def _write_nifti(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    if is_sheared(geometry):
        raise MedoodError(f"{path.name} would be misplaced: NIfTI cannot hold its sheared grid (gantry tilt). Write .nrrd instead.")
    image = nifti_image(array, geometry)
    with atomic_file(path) as part:
        image.to_filename(part)


def _read_nifti(path: Path) -> tuple[np.ndarray, Geometry]:
    import nibabel as nib

    image = nib.Nifti1Image.from_filename(path)
    array = np.asarray(image.dataobj, np.float32).T
    if array.ndim != 3:
        raise ValueError("not a volume")
    off = image.header["descrip"].item().decode("ascii", "replace")
    return array, Geometry(image.affine, array.shape, **{flag: f"{flag}=false" not in off for flag in _FLAGS})


def _flags_off(geometry: Geometry) -> list[str]:
    """What a reader must not believe of the grid's millimetres; kept in the header so that `read_map` returns an equal geometry."""
    return [flag for flag in _FLAGS if not getattr(geometry, flag)]


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"
