"""The file that holds the mask of a lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medood.core.errors import InputError
from medood.core.geometry import Geometry
from medood.core.volume import Volume
from medood.sources.annotation import slice_labels
from medood.sources.content import kind_of
from medood.sources.image import read_pages
from medood.sources.nifti import read_nifti

_SAME_PLACE = 0.1  # voxels by which a mask may be off the grid of its image
_MOST_OF_ALL = 0.95


def add_mask(volume: Volume, path: Path, *, label: int | None, min_lesion: int = 0) -> None:
    """Read the mask of a volume and the labels of its slices. A mask that fills the volume has an issue code: it may be the wrong file.

    Raises InputError when it cannot be read or lies elsewhere.
    """
    volume.mask = read_mask(path, volume.geometry, volume.entry.id)
    volume.labels = slice_labels(volume.image.shape[1], label, volume.mask, min_lesion)
    if volume.mask.mean() > _MOST_OF_ALL:
        volume.issues = (*volume.issues, "mask_fills_volume")


def read_mask(path: Path, geometry: Geometry, name: str) -> np.ndarray:
    """The lesion mask of a volume, uint8 (slices, rows, columns): 1 in the lesion.

    The file is a DICOM structure set or segmentation of one region, a NIfTI, or a picture of the volume's size. The axes of a NIfTI may be
    turned and flipped against those of the volume as long as the voxels are the same. Whole numbers are lesion where they are above 0;
    others, as resampling leaves them, where they are .5 or more; those of a JPEG where they are above half of the range.
    Raises InputError naming `name`, the image that the mask belongs to.
    """
    shown = f"{name} (its mask {path.name})"
    try:
        kind = kind_of(path)
    except OSError as error:
        raise InputError(f"{shown}: the mask is missing or cannot be opened.", "no_mask") from error
    if kind == "dicom":
        from medood.sources.dicom.structures import read_structures

        return read_structures(path, geometry, name)
    if kind == "nifti":
        values, grid = read_nifti(path, shown)
        turned = _turned(values, grid, geometry)
    elif kind == "image":
        pages, _ = read_pages(path, shown)
        values = pages.max(axis=0)
        turned = values if values.shape == geometry.shape else None
    else:
        raise InputError(f"{shown}: expected a mask in NIfTI, PNG, TIFF, BMP, or a DICOM structure set or segmentation.", "mask_format")
    if turned is None:
        sizes = [" x ".join(str(n) for n in shape) for shape in (geometry.shape, values.shape)]
        how = f"{sizes[0]} and {sizes[1]} voxels" if sizes[0] != sizes[1] else "of one size, in different places"
        raise InputError(f"{shown}: the image and its mask lie on different grids ({how}); resample the mask.", "mask_grid")
    return _lesion(turned, path)


def _lesion(values: np.ndarray, path: Path) -> np.ndarray:
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return (values > 127).astype(np.uint8)  # compression leaves small numbers around a lesion
    values = np.nan_to_num(values)
    whole = bool((values == np.rint(values)).all())
    return (values > 0 if whole else values >= 0.5).astype(np.uint8)


def _turned(values: np.ndarray, grid: Geometry, onto: Geometry) -> np.ndarray | None:
    """The array [slice, row, column] with its axes as those of another grid that has the same voxels in the same places, else None."""
    to_grid = np.linalg.inv(grid.affine) @ onto.affine  # index (column, row, slice) of `onto` to that of `grid`
    turn = np.rint(to_grid[:3, :3])
    if not (np.array_equal(np.abs(turn).sum(0), (1, 1, 1)) and np.array_equal(np.abs(turn).sum(1), (1, 1, 1))):
        return None
    axes = [2 - int(np.flatnonzero(turn[:, 2 - axis])[0]) for axis in range(3)]  # of the array: axis 0 is slices, the last of an index
    array = values.transpose(axes)
    flipped = tuple(axis for axis in range(3) if turn[:, 2 - axis].sum() < 0)
    array = np.flip(array, flipped)
    if array.shape != onto.shape:
        return None
    ends = np.array([(i, j, k, 1) for i in (0, onto.shape[2] - 1) for j in (0, onto.shape[1] - 1) for k in (0, onto.shape[0] - 1)], float)
    found = (ends @ to_grid.T)[:, :3]
    lengths = np.array(grid.shape[::-1]) - 1
    expected = ends[:, :3] @ turn.T + np.where(turn.sum(1) < 0, lengths, 0)
    return array if np.abs(found - expected).max() <= _SAME_PLACE else None
