"""What is known about a volume's slices: labels, and the mask of the lesion."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from medood.core.errors import InputError
from medood.core.geometry import Geometry
from medood.core.volume import Entry
from medood.sources.content import kind_of


@runtime_checkable
class DrawsMasks(Protocol):
    """A source that draws lesion masks itself, from boxes say, so that no file holds them."""

    def draws_mask(self, entry: Entry) -> bool:
        """Whether what `read` makes of this entry has such a mask."""
        ...


def slice_labels(slices: int, label: int | None, mask: np.ndarray | None = None, min_lesion: int = 0) -> np.ndarray:
    """Labels int8 (slices,) from the label of the whole and the mask (slices, rows, columns).

    A normal volume has normal slices and a single image has its own label. Otherwise a slice with more than `min_lesion` mask pixels is 1,
    one without is 0, and one between is -1. Without a mask nobody knows which slices of an anomalous volume are anomalous: all -1.
    """
    if label == 0 or (label is not None and slices == 1):
        return np.full(slices, label, dtype=np.int8)
    if mask is None:
        return np.full(slices, -1, dtype=np.int8)
    pixels = np.count_nonzero(mask, axis=(1, 2))
    return np.where(pixels > min_lesion, 1, np.where(pixels == 0, 0, -1)).astype(np.int8)


def read_mask(path: Path, geometry: Geometry, name: str) -> np.ndarray:
    """The lesion mask of a volume, uint8 (slices, rows, columns): 1 wherever the file holds more than 0.

    The file is NIfTI or a picture on the very grid of the volume. Raises InputError naming `name`, the image that the mask belongs to.
    """
    from medood.sources.image import read_pages
    from medood.sources.nifti import read_nifti

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
