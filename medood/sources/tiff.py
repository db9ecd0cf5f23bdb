"""Grey TIFFs of kinds that Pillow reads wrongly or not at all, with tifffile: signed bytes, half and double precision, several samples."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import tifffile

from medood.core.errors import InputError

_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_GREY = (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_PILLOW_READS = {  # sample format, bits, photometric interpretation: of one grey sample
    *((_UNSIGNED, bits, photometric) for bits in (1, 2, 4, 8, 16) for photometric in _GREY),
    (_UNSIGNED, 12, _BLACK_IS_ZERO),
    *((kind, bits, _BLACK_IS_ZERO) for kind, bits in ((_SIGNED, 16), (_SIGNED, 32), (_FLOAT, 32))),
}
_WE_READ = {*((_UNSIGNED, bits) for bits in (8, 16, 32)), *((_SIGNED, bits) for bits in (8, 16, 32)), *((_FLOAT, n) for n in (16, 32, 64))}
_PLANES_APART = 2  # PlanarConfiguration
_ORIENTATION = 274
_UPRIGHT = {  # TIFF 6.0, Orientation
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, 1),
}
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else its words reach the terminal, without the file they are about


def is_beyond_pillow(path: Path) -> bool:
    """Whether the first page is grey, of a kind that only `read_grey` reads. Whatever is wrong with the file raises an error."""
    with path.open("rb") as file:
        if file.read(2) not in (b"II", b"MM"):
            return False
    with tifffile.TiffFile(path) as file:
        page = _first(file)
        if page.photometric not in _GREY:
            return False
        if page.samplesperpixel == 2 and page.bitspersample == 8 and page.sampleformat == _UNSIGNED:
            return False  # with transparency, say
        if (page.bitspersample, page.photometric, file.byteorder) == (16, _WHITE_IS_ZERO, ">"):
            return True
        return page.samplesperpixel > 1 or (page.sampleformat, page.bitspersample, page.photometric) not in _PILLOW_READS


def count_pages(path: Path) -> int:
    with tifffile.TiffFile(path) as file:
        return len(file.pages)


def read_grey(path: Path, name: str, most: int) -> tuple[list[np.ndarray], list[str]]:
    """The pages as float32 (rows, columns), low is dark, and issue codes.

    Raises InputError for what is not supported and for more than `most` pixels; whatever else is wrong raises an error of another kind.
    """
    issues: list[str] = []
    with tifffile.TiffFile(path) as file:
        size = path.stat().st_size
        pages = [page.aspage() for page in file.pages]
        for page in pages:
            if (page.sampleformat, page.bitspersample) not in _WE_READ or page.photometric not in _GREY:
                kind = f"{page.bitspersample} bits, sample format {page.sampleformat}, photometric interpretation {page.photometric}"
                raise InputError(f"{name}: TIFF pages of this kind ({kind}) are not supported; save it as 16-bit grey.", "unsupported_mode")
            if page.imagelength * page.imagewidth * page.samplesperpixel * len(pages) > most:
                raise InputError(f"{name}: more pixels than a medical image has; cut or shrink it first.", "too_large")
            if any(start + length > size for start, length in zip(page.dataoffsets, page.databytecounts, strict=True)):
                raise EOFError
        return [_read(page, name, issues) for page in pages], issues


def _first(file: tifffile.TiffFile) -> tifffile.TiffPage:
    return file.pages[0].aspage()


def _read(page: tifffile.TiffPage, name: str, issues: list[str]) -> np.ndarray:
    try:
        array = page.asarray()
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise InputError(f"{name}: this kind of TIFF is read uncompressed only; save it so.", "unsupported_mode") from error
        raise
    if page.samplesperpixel > 1:
        planes = (page.samplesperpixel, page.imagelength, page.imagewidth)
        array = array.reshape(planes)[0] if page.planarconfig == _PLANES_APART else array[..., 0]
        issues.append("further_samples_dropped")
    turn = _UPRIGHT.get(int(page.tags.valueof(_ORIENTATION, 1)), lambda a: a)
    return turn(_dark_is_low(array.reshape(page.imagelength, page.imagewidth), page, issues))


def _dark_is_low(array: np.ndarray, page: tifffile.TiffPage, issues: list[str]) -> np.ndarray:
    """float32; numbers are turned round within their type where 0 is white, floating-point ones within the range that is there."""
    with np.errstate(all="ignore"):  # what is too large for float32 becomes infinite
        if page.photometric != _WHITE_IS_ZERO:
            return array.astype(np.float32)
        if array.dtype.kind == "f":
            issues.append("inverted_within_own_range")
            return (np.float64(array.min()) + np.float64(array.max()) - array).astype(np.float32)
    return np.invert(array).astype(np.float32)
