"""Images of another kind, made from normal ones: another position, another scanner, another organ, no medical image at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from monai.transforms import RandBiasField, ResizeWithPadOrCrop
from monai.transforms.utils import Fourier
from scipy import ndimage
from skimage import data
from skimage.transform import resize

from medood.benchmarking.blind_spot.changes import Change, Picture

_NOISE = 0.5  # deviations of the body's grey values
_BIAS = 0.3, 0.6  # coefficients of the polynomial in the exponent
_GHOST = 0.6  # of every second line that is lost
_MOVES = 3


def _upside_down(picture: Picture, random: np.random.Generator) -> np.ndarray:
    return picture.image[:, ::-1].copy()


def _mirrored(picture: Picture, random: np.random.Generator) -> np.ndarray:
    return picture.image[:, :, ::-1].copy()


def _turned(picture: Picture, random: np.random.Generator) -> np.ndarray:
    """By a quarter, one way or the other; cut or filled up to the size that it had."""
    way = int(random.choice([1, 3]))
    turned = np.rot90(picture.image, way, (1, 2)).copy()
    fill = float(picture.image.min()) if picture.outside is None else picture.outside
    fitted = ResizeWithPadOrCrop(picture.body.shape, mode="constant", constant_values=fill)(torch.from_numpy(turned))
    return np.asarray(fitted, np.float32)


def _inverted(picture: Picture, random: np.random.Generator) -> np.ndarray:
    return picture.filled(picture.values.max() + picture.values.min() - picture.image)


def _noisy(picture: Picture, random: np.random.Generator) -> np.ndarray:
    noise = random.standard_normal(picture.image.shape, dtype=np.float32)
    return picture.filled(picture.image + np.float32(_NOISE * picture.values.std()) * noise)


def _biased(picture: Picture, random: np.random.Generator) -> np.ndarray:
    """The smooth field of a receiving coil, of MONAI."""
    lowest = picture.values.min()
    field = RandBiasField(degree=3, coeff_range=_BIAS, prob=1.0)
    field.set_random_state(seed=int(random.integers(2**31)))
    return picture.filled(np.asarray(field(picture.image - lowest), np.float32) + lowest)


def _ghosted(picture: Picture, random: np.random.Generator) -> np.ndarray:
    """Every second line of k-space is weaker, as when something pulsates: a fainter image half a field of view away."""
    lines = _lines(picture)
    middle = lines.shape[1] // 2
    weak = np.arange(lines.shape[1]) % 2 == (middle + 1) % 2
    lines[:, weak] *= 1 - _GHOST
    return _picture_of(lines, picture)


def _moved(picture: Picture, random: np.random.Generator) -> np.ndarray:
    """The patient moves three times while the lines of k-space are read, by a few degrees and a few hundredths of the field of view."""
    lines = _lines(picture)
    count = lines.shape[1]
    begins: list[int] = np.sort(random.choice(np.arange(1, count), _MOVES, replace=False)).tolist() if count > _MOVES else []
    for begin, end in zip(begins, [*begins[1:], count], strict=True):
        angle, offsets = random.uniform(-8, 8), random.uniform(-0.04, 0.04, 2) * picture.body.shape
        moved = ndimage.shift(
            ndimage.rotate(picture.image, angle, (1, 2), reshape=False, order=1, mode="nearest"), (0, *offsets), order=1, mode="nearest"
        )
        lines[:, begin:end] = _lines(Picture(moved, picture.body, picture.outside))[:, begin:end]
    return _picture_of(lines, picture)


def _thorax(picture: Picture, random: np.random.Generator) -> np.ndarray:
    """Another organ: a drawn slice of a chest, soft tissue, two lungs with vessels, spine, heart and aorta, in the range of the image."""
    rows, columns = picture.body.shape
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = _ellipse(y, x, 0, 0, random.uniform(0.6, 0.7), random.uniform(0.82, 0.92))
    grey = np.where(body, 0.65, 0.0)
    lungs = _ellipse(y, x, -0.02, -0.42, 0.42, random.uniform(0.26, 0.32)) | _ellipse(y, x, -0.02, 0.42, 0.42, random.uniform(0.26, 0.32))
    vessels = ndimage.gaussian_filter(random.standard_normal((rows, columns)), max(rows, columns) / 64)
    grey[lungs] = 0.12
    grey[lungs & (vessels > 1.8 * vessels.std())] = 0.6
    grey[_ellipse(y, x, 0.42, 0, 0.15, 0.13)] = 1.0
    grey[_ellipse(y, x, -0.15, random.uniform(0.05, 0.15), 0.3, 0.26)] = 0.75
    grey[_ellipse(y, x, 0.22, -0.12, 0.07, 0.07)] = 0.8
    grey += np.where(body, 0.02 * random.standard_normal((rows, columns)), 0)
    return _in_range_of(picture, grey, outside=~body)


def _photograph(picture: Picture, random: np.random.Generator) -> np.ndarray:
    """A part of a photograph that comes with scikit-image, in the range of the image."""
    whole = data.camera() / 255
    side = int(random.integers(200, 400))
    top, left = (int(random.integers(0, length - side)) for length in whole.shape)
    return _in_range_of(picture, resize(whole[top : top + side, left : left + side], picture.body.shape, anti_aliasing=True))


SHIFTS: Mapping[str, Change] = {
    "upside down": _upside_down,
    "mirrored": _mirrored,
    "turned by 90 degrees": _turned,
    "inverted grey": _inverted,
    "noise": _noisy,
    "bias field": _biased,
    "motion": _moved,
    "ghosting": _ghosted,
    "other organ": _thorax,
    "photograph": _photograph,
}


def _lines(picture: Picture) -> np.ndarray:
    """complex (channels, rows, columns): k-space, its middle in the middle, of the image above its lowest value."""
    return np.asarray(Fourier.shift_fourier(torch.from_numpy(picture.image - picture.image.min()), 2))


def _picture_of(lines: np.ndarray, picture: Picture) -> np.ndarray:
    """The magnitude of what k-space says, as scanners show it, above the lowest value of the image."""
    turned = torch.fft.ifftn(torch.fft.ifftshift(torch.from_numpy(lines), dim=(-2, -1)), dim=(-2, -1))
    return picture.filled(turned.abs().numpy() + picture.image.min())


def _ellipse(y: np.ndarray, x: np.ndarray, row: float, column: float, height: float, width: float) -> np.ndarray:
    return ((y - row) / height) ** 2 + ((x - column) / width) ** 2 < 1


def _in_range_of(picture: Picture, grey: np.ndarray, outside: np.ndarray | None = None) -> np.ndarray:
    """Grey values (rows, columns) of 0..1 as an image with the range of this one's body; this one's outside where `outside` is True."""
    low, high = np.percentile(picture.values, (1, 99))
    image = np.broadcast_to(low + (high - low) * grey, picture.image.shape).astype(np.float32)
    if outside is not None and picture.outside is not None:
        image = np.where(outside, np.float32(picture.outside), image)
    return np.ascontiguousarray(image, np.float32)
