"""Bright blobs in normal slices, as lesions are in T2 and FLAIR."""

from __future__ import annotations

import numpy as np

from medood.benchmarking.blind_spot.changes import Picture

_DEVIATIONS = 4, 10
"""Of a blob, in 128ths of the longer side of the slice, both ends included."""

_VOLUME = 1000.0
"""Of a blob: what its pixels add up to, in deviations of the body's grey values times squared 128ths."""


def blob(picture: Picture, random: np.random.Generator) -> np.ndarray:
    """The slice with a Gaussian blob in its body.

    The blobs of Heer et al. (MIDL 2021): 1000 times the density of a normal distribution with a deviation of 4 to 10 pixels of 128, so from
    9.9 to 1.6 deviations high. Centred exactly on the pixel of the body that is drawn; their code halves the offset, which puts the blob
    half-way to the middle of the image.
    """
    rows, columns = picture.body.shape
    pixel = max(rows, columns) / 128
    row, column = random.choice(np.argwhere(picture.body))
    deviation = int(random.integers(_DEVIATIONS[0], _DEVIATIONS[1] + 1))
    y, x = np.ogrid[:rows, :columns]
    squares = ((y - row) ** 2 + (x - column) ** 2) / pixel**2
    height = _VOLUME / (2 * np.pi * deviation**2) * float(picture.values.std())
    return picture.filled(picture.image + np.where(picture.body, height * np.exp(-squares / (2 * deviation**2)), 0))
