"""Pictures: PNG, JPEG, TIFF, BMP."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as Picture
from PIL import ImageOps
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import TiffFileError

from medood.core.errors import InputError
from medood.core.geometry import photograph_geometry
from medood.core.shield import kind_of as kind_of_error
from medood.core.shield import shield
from medood.core.volume import Entry, Index, Problem, Volume
from medood.sources.annotation import slice_labels
from medood.sources.content import kind_of_name
from medood.sources.indexing import files_below, index_files, name_of
from medood.sources.libtiff import errors_are_raised
from medood.sources.recall import recall
from medood.sources.roles import group_of, masks_by_name
from medood.sources.tiff import count_pages, is_beyond_pillow, read_grey

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_GREY = ("L", "I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_TO_GREY = ("1", "LA", "La")
_TO_COLOUR = ("RGB", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_MOST_PIXELS = 1 << 30
_BITS, _PHOTOMETRIC, _SAMPLES = 258, 262, 277
_WHITE_IS_ZERO = 0
# Words of Pillow about a file would reach the terminal without the file; what matters of them has an issue code.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Image:
    """Pictures (PNG, JPEG, TIFF, BMP) in a folder and its subfolders.

    ```
    root/normal/0001.png
    root/normal/0002.jpg
    root/stack.tif             pages of one size are slices
    ```
    Grey pictures keep their stored values (8 or 16 bit, or floating point) in one channel, colour ones have three channels of 0..255.
    The orientation that a camera notes in EXIF is applied. A mask beside its picture (a_mask.png, masks/a.png) is listed as a problem.

    group  what keeps pictures of one patient together: each "file", "folder" the folder that holds the file, or "subject" the BIDS label
           `sub-...` or else the first folder
    """

    def __init__(self, root: Path, *, group: Literal["file", "folder", "subject"] = "file") -> None:
        self.root = Path(root)
        self.group = group

    def index(self) -> Index:
        return self.index_of(files_below(self.root))

    def index_of(self, files: Iterable[Path], masks: Collection[str] | None = None) -> Index:
        """The index of some files below the root. Those named in `masks` are masks; without it, those that are called so and have an image
        that they belong to among the files.
        """
        index = index_files(self.root, files, self.entry)
        if masks is None:
            masks = masks_by_name(lambda: (entry.id for entry in index.entries))
        found = [entry.id for entry in index.entries if entry.id in masks]
        problems = [*index.problems, *(Problem(name, "mask_file", "By its name the mask of another picture.") for name in found)]
        entries = tuple(entry for entry in index.entries if entry.id not in masks)
        return Index(self.root, entries, tuple(sorted(problems, key=lambda p: p.path)))

    def entry(self, path: Path) -> Entry:
        """The entry of one file below the root, from its header. Raises InputError."""
        name = name_of(path, self.root)
        return Entry(name, (path,), group_of(name, self.group), slices=recall("image", path, name, lambda: _count(path, name)))

    def read(self, entry: Entry) -> Volume:
        image, issues = read_pages(entry.files[0], entry.id)
        labels = slice_labels(image.shape[1], entry.label)
        return Volume(entry, image, photograph_geometry(image.shape[1:]), labels, issues=issues)


def read_pages(path: Path, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """All pages as float32 (channels, pages, rows, columns), and issue codes. Raises InputError naming `name`."""
    with _shielded(path, name):
        pages, issues = _all_pages(path, name)
        if len({page.shape for page in pages}) > 1:
            raise InputError(f"{name}: the pages differ in size or colour; save each page as a file.", "pages_differ")
        image = np.stack(pages, axis=1)
    if not np.isfinite(image).all():
        raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(image))} pixels are not finite numbers; mend the file.", "not_finite")
    return image, tuple(dict.fromkeys(issues))


def _count(path: Path, name: str) -> int:
    """The number of pages that are slices, from the header."""
    with _shielded(path, name):
        if is_beyond_pillow(path):
            return count_pages(path)
        with _opened(path) as picture:
            return _pages(picture)


def _all_pages(path: Path, name: str) -> tuple[list[np.ndarray], list[str]]:
    """Pages float32 (channels, rows, columns), and issue codes."""
    if is_beyond_pillow(path):
        grey, issues = read_grey(path, name, _MOST_PIXELS)
        return [page[None] for page in grey], issues
    pages: list[np.ndarray] = []
    issues = []
    with _opened(path) as picture:
        for number in range(_pages(picture)):
            if number:
                picture.seek(number)
            pages.append(_page(picture, name, issues))
    return pages, issues


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile]:
    """The picture with its header read."""
    # A file object, not a name: Pillow 13 maps named files into memory and then garbles turned grey TIFFs.
    with path.open("rb") as file, errors_are_raised(), Picture.open(file, formats=_FORMATS) as picture:
        area = picture.width * picture.height
        if area > (Picture.MAX_IMAGE_PIXELS or area) or area * _pages(picture) > _MOST_PIXELS:
            raise Picture.DecompressionBombError
        yield picture


def _shielded(path: Path, name: str) -> shield:
    def refusal(error: BaseException) -> InputError:
        if isinstance(error, (Picture.UnidentifiedImageError, TiffFileError)):
            return _no_picture(path, name)
        if isinstance(error, (Picture.DecompressionBombError, Picture.DecompressionBombWarning)):
            return InputError(f"{name}: more pixels than a medical image has; cut or shrink it first.", "too_large")
        return InputError(f"{name}: the file is damaged, cut off or not readable ({kind_of_error(error)}).", "unreadable")

    return shield(name, refusal)


def _no_picture(path: Path, name: str) -> InputError:
    """A picture by its name is broken; anything else is merely something else."""
    if kind_of_name(path.name) != "image":
        return InputError(f"{name}: not a PNG, JPEG, TIFF or BMP.", "not_an_image")
    if path.is_file() and path.stat().st_size == 0:
        return InputError(f"{name}: the file is empty (0 bytes); copy it again.", "empty")
    return InputError(f"{name}: called a picture, but its content is no PNG, JPEG, TIFF or BMP; copy it again.", "unreadable")


def _pages(picture: Picture.Image) -> int:
    """Only TIFF pages are slices: a JPEG's or PNG's further frames are previews and animations."""
    return getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1


def _page(picture: ImageFile, name: str, issues: list[str]) -> np.ndarray:
    """The current page as float32 (channels, rows, columns)."""
    stored = " ".join(str(tile[3]) for tile in picture.tile)
    if ";16" in stored and picture.mode not in _GREY:
        issues.append("reduced_to_8_bit")  # Pillow has no 16-bit colour
    if isinstance(picture, TiffImageFile) and picture.mode == "L" and picture.tag_v2.get(_SAMPLES, 1) > 1:
        issues.append("further_samples_dropped")
    white = _white_of_inverted(picture)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode not in _GREY + _TO_GREY + _TO_COLOUR:
        raise InputError(f"{name}: pictures of mode {upright.mode} are not supported; save it as grey or RGB.", "unsupported_mode")
    array = np.asarray(_plain(upright, issues), dtype=np.float32)
    array = array if white is None else white - array
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _white_of_inverted(picture: ImageFile) -> float | None:
    """The highest value of a 16-bit TIFF whose 0 is white; Pillow inverts such files of 8 bits itself, but not these."""
    if not isinstance(picture, TiffImageFile) or not picture.mode.startswith("I;16") or picture.tag_v2.get(_PHOTOMETRIC) != _WHITE_IS_ZERO:
        return None
    return float(2 ** picture.tag_v2[_BITS][0] - 1)


def _plain(picture: Picture.Image, issues: list[str]) -> Picture.Image:
    """Grey or RGB without palette and transparency."""
    if picture.mode in _GREY and picture.mode != "L":
        return picture
    grey = picture.mode in (*_GREY, *_TO_GREY)
    picture = picture.convert("L") if picture.mode == "1" else picture
    if picture.has_transparency_data:
        picture = picture.convert("LA" if grey else "RGBA")
        if np.asarray(picture.getchannel("A")).min() < 255:
            issues.append("alpha_dropped")
    return picture.convert("L" if grey else "RGB")
