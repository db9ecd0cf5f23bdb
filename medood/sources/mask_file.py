"""The file that holds the mask of a lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medood.core.errors import InputError
from medood.core.geometry import Geometry
from medood.sources.content import kind_of
from medood.sources.image import read_pages
from medood.sources.nifti import read_nifti


def read_mask(path: Path, geometry: Geometry, name: str) -> np.ndarray:
    """The lesion mask of a volume, uint8 (slices, rows, columns): 1 wherever the file holds more than 0.

    The file is NIfTI or a picture on the very grid of the volume. Raises InputError naming `name`, the image that the mask belongs to.
    """
    shown = f"{name} (its mask {path.name})"
    try:
        kind = kind_of(path)
    except OSError as error:
        raise InputError(f"{shown}: the mask is missing or cannot be opened.", "no_mask") from error
    if kind == "nifti":
        lesion, grid = read_nifti(path, shown)
        same = geometry.shape == grid.shape and np.allclose(geometry.affine, grid.affine, atol=0.01)
    elif kind == "image":
        pages, _ = read_pages(path, shown)
        lesion = pages.max(axis=0)
        same = lesion.shape == geometry.shape
    else:
        raise InputError(f"{shown}: expected a mask in NIfTI, PNG, TIFF or BMP.", "mask_format")
    if not same:
        sizes = " and ".join("x".join(str(n) for n in shape) for shape in (geometry.shape, lesion.shape))
        raise InputError(f"{shown}: the image and its mask lie on different grids ({sizes}); resample the mask.", "mask_grid")
    return (lesion > 0).astype(np.uint8)
