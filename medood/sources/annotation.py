"""What is known about a volume's slices: labels, and the mask of the lesion."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from medood.core.volume import Entry


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
