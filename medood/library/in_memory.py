"""Images that are in memory already, as volumes: arrays, tensors, images of nibabel and SimpleITK."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nibabel.spatialimages import SpatialImage
from torch import Tensor

from medood.core.errors import InputError
from medood.core.geometry import Geometry, Plane, display_geometry, photograph_geometry
from medood.core.volume import Entry, Index, Volume
from medood.sources.annotation import slice_labels

if TYPE_CHECKING:
    import SimpleITK

_NAME = "image"
_MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ONE = "one image or volume at a time; call it for each, or run.score_folder for a folder"


@dataclass(frozen=True, eq=False)
class Given:
    """What a user gave, as a source of one volume. `shape` is its own without channels, `reversed_axes` says (columns, rows, slices)."""

    volume: Volume
    shape: tuple[int, ...]
    reversed_axes: bool = False

    def index(self) -> Index:
        return Index(Path(), (self.volume.entry,))

    def read(self, entry: Entry) -> Volume:
        """As a source does."""
        return self.volume

    def like(self, grid: np.ndarray) -> np.ndarray:
        """(slices, rows, columns) laid out as what was given."""
        return np.ascontiguousarray(grid.T if self.reversed_axes else grid).reshape(self.shape)


def from_volume(volume: Volume) -> Given:
    """A map of a volume of one slice has (rows, columns)."""
    shape = volume.geometry.shape
    return Given(volume, shape[1:] if shape[0] == 1 else shape)


def from_memory(image: Any, spacing: Sequence[float] | None, affine: Any, plane: Plane | None) -> Given:
    """An image of any library as a volume; `Run.score` says which kinds there are and what they mean.

    `plane` is that of the slices of an array without an affine; None: pictures. Raises InputError, a sentence, for anything else.
    """
    itk = sys.modules.get("SimpleITK")  # whoever holds an image of it has imported it
    if isinstance(image, SpatialImage) or (itk and isinstance(image, itk.Image)):
        if spacing is not None or affine is not None:
            raise InputError("The image knows its own place: leave spacing and affine out.", "spacing")
        return _from_nibabel(image) if isinstance(image, SpatialImage) else _from_itk(image)
    if isinstance(image, Tensor) and hasattr(image, "affine") and affine is None and spacing is None:
        return _from_monai(image)
    if isinstance(image, Tensor):
        array, colour = image.detach().cpu().numpy(), image.ndim == 3 and len(image) == 3
        array = array.transpose(1, 2, 0) if colour else array[0] if array.ndim == 3 and len(array) == 1 else array
    elif isinstance(image, np.ndarray):
        array, colour = image, image.ndim == 3 and image.shape[2] == 3
        array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    else:
        raise InputError(_unknown(image), "kind")
    if array.ndim not in (2, 3):
        raise InputError(
            f"Found the shape {tuple(image.shape)}, expected (rows, columns), (rows, columns, 3) or (slices, rows, columns): give {_ONE}.",
            "shape",
        )
    if affine is not None:
        if spacing is not None or colour:
            raise InputError("An affine is for grey images and brings their spacing: leave out the one or the other.", "spacing")
        return _placed(array, np.asarray(affine, float))
    return _from_array(array, colour, spacing, plane)


def _from_array(array: np.ndarray, colour: bool, spacing: Sequence[float] | None, plane: Plane | None) -> Given:
    """Rows go down, columns to the right, as on a display."""
    axes = 2 if colour else array.ndim
    if not colour and array.ndim == 3 and array.shape[2] == 4:
        raise InputError("Found four channels: drop the transparency, image[..., :3].", "channels")
    steps = _spacing(spacing, axes)
    grid = array.transpose(2, 0, 1)[:, None] if colour else array.reshape(1, *(1, *array.shape)[-3:])
    shape = grid.shape[1:]
    if plane is None:
        flat = photograph_geometry(shape)
        geometry = Geometry(flat.affine @ np.diag([*reversed(steps), 1.0]), shape, spacing_known=False, in_patient=False)
    else:
        geometry = display_geometry(shape, plane, steps)
    geometry = Geometry(geometry.affine, shape, spacing is not None, geometry.in_patient)
    issues = ("orientation_unknown",) if axes == 3 else ()
    return Given(_volume(grid, geometry, issues), array.shape[:axes])


def _placed(array: np.ndarray, affine: np.ndarray, known: bool = True) -> Given:
    """An array as nibabel lays it out: `affine` maps its own index (i, j, k, 1) to RAS millimetres. Further axes are of length 1."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError("An affine is 4 x 4, not singular, and maps the array's index (i, j, k, 1) to RAS millimetres.", "bad_affine")
    if array.ndim < 2 or any(size != 1 for size in array.shape[3:]):
        raise InputError(f"Found an image of the shape {array.shape}, expected a 2-D or 3-D one: give {_ONE}.", "not_3d")
    grid = array.reshape((*array.shape, 1)[:3]).T[None]
    issues = () if known else ("orientation_unknown",)
    return Given(_volume(grid, Geometry(affine, grid.shape[1:], spacing_known=known), issues), array.shape, reversed_axes=True)


def _from_nibabel(image: SpatialImage) -> Given:
    header: Any = image.header
    known = not hasattr(header, "get_sform") or any(int(header[code]) > 0 for code in ("sform_code", "qform_code"))
    affine = np.array(header.get_best_affine() if image.affine is None else image.affine, float)
    units = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "mm"
    affine[:3] *= _MM_PER_UNIT.get(units, 1.0)
    if image.get_data_dtype().kind not in "iuf":
        raise InputError("The image holds colour or complex voxels, expected one real number per voxel.", "not_grey")
    return _placed(np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged")), affine, known)


def _from_monai(image: Any) -> Given:
    """A MetaTensor (1, i, j, k). In two dimensions MONAI leaves open which axis are the rows."""
    if image.ndim != 4 or len(image) != 1 or str(image.meta.get("space", "RAS")) != "RAS":
        raise InputError(
            f"Of MONAI's tensors, volumes (1, i, j, k) in RAS can be taken, found the shape {tuple(image.shape)}: give the file instead.",
            "shape",
        )
    return _placed(image.as_tensor()[0].detach().cpu().numpy(), np.asarray(image.affine, float))


def _from_itk(image: SimpleITK.Image) -> Given:
    import SimpleITK as sitk

    dimension, channels = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dimension not in (2, 3) or channels not in (1, 3):
        raise InputError(f"Found a SimpleITK image of {dimension} dimensions and {channels} components: give {_ONE}.", "shape")
    array = sitk.GetArrayFromImage(image)
    grid = (np.moveaxis(array, -1, 0) if channels == 3 else array[None]).reshape(channels, *(1, *image.GetSize()[::-1])[-3:])
    affine = np.eye(4)
    affine[:dimension, :dimension] = np.reshape(image.GetDirection(), (dimension, dimension)) * image.GetSpacing()
    affine[:dimension, 3] = image.GetOrigin()
    known = dimension == 3 or image.GetSpacing() != (1.0, 1.0)
    volume = _volume(grid, Geometry(_LPS @ affine, grid.shape[1:], spacing_known=known, in_patient=dimension == 3), ())
    return Given(volume, image.GetSize()[::-1])


def _volume(grid: np.ndarray, geometry: Geometry, issues: tuple[str, ...]) -> Volume:
    """(channels, slices, rows, columns) of any real type as a volume of unknown label."""
    if grid.size == 0:
        raise InputError("The image has no pixels.", "empty")
    if grid.dtype.kind not in "buif":
        raise InputError(f"The image holds {grid.dtype}, expected real numbers.", "not_grey")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(grid, np.float32)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise InputError(f"{bad} of {values.size} values are not finite numbers: replace them first.", "not_finite")
    entry = Entry(_NAME, (), _NAME, slices=geometry.shape[0], issues=issues)
    return Volume(entry, values, geometry, slice_labels(geometry.shape[0], None))


def _spacing(spacing: Sequence[float] | None, axes: int) -> tuple[float, float, float]:
    """Millimetres between slices, rows and columns."""
    if spacing is None:
        return 1.0, 1.0, 1.0
    steps = [float(step) for step in spacing]
    if len(steps) != axes or not all(np.isfinite(steps)) or min(steps) <= 0:
        names = "(rows, columns)" if axes == 2 else "(slices, rows, columns)"
        raise InputError(f"Found spacing {tuple(spacing)}, expected {axes} millimetres in the order {names}.", "spacing")
    depth, height, width = ([1.0] * (3 - axes) + steps)[-3:]
    return depth, height, width


def _unknown(image: Any) -> str:
    if isinstance(image, (list, tuple, set, dict)):
        return f"Found a {type(image).__name__}: give {_ONE}."
    if hasattr(image, "convert") and hasattr(image, "getbands"):
        return "Found an image of Pillow: give the path of its file, or numpy.asarray(image.convert('L')), or 'RGB' for colour."
    return (
        f"Found {type(image).__name__}, expected the path of a picture, NIfTI or DICOM file or of a series folder, a numpy array, a torch "
        "tensor, an image of nibabel or SimpleITK, or a medood.Volume."
    )
