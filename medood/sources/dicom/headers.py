"""Walks a folder and tells by their content which files are DICOM images; reads headers, never pixels."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from medood.core.volume import Problem
from medood.sources.dicom.decoders import decoders_for
from medood.sources.dicom.library import pydicom
from medood.sources.dicom.planes import HEADER_KEYWORDS, MalformedHeader, Plane, planes_of
from medood.sources.indexing import files_below

_TAGS = [pydicom.tag.Tag(keyword) for keyword in HEADER_KEYWORDS]
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})  # float, double float, integer pixels
_UNDEFINED_LENGTH = 0xFFFFFFFF
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MOST_VALUES = 1 << 33  # 32 GiB as float32; a header that promises more is damaged or hostile

# Objects with pixels that are not pictures of a patient: labels, doses, tiles of a microscope slide.
_NOT_TO_BE_SCORED = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map segmentation",
    "1.2.840.10008.5.1.4.1.1.66.5": "a surface segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a tiled microscopy slide",
}
_DICOMDIR = "1.2.840.10008.1.3.10"


def find_files(root: Path) -> list[Path]:
    """Every file below `root`, hidden ones too: DICOM files have any name. A root that is a file stands for itself. Raises InputError."""
    return files_below(root, hidden=True)


def read_header(path: Path, name: str) -> list[Plane] | Problem:
    """The frames that a file holds, or why it cannot be used; `name` is its path as the user should see it."""
    if not path.is_file():
        return Problem(name, "unreadable", "This cannot be opened: a folder without permission, or a link that leads nowhere.")
    try:
        with path.open("rb") as file:
            return _read_header(file, path, name)
    except OSError as error:
        kind, reason = "unreadable", f"The file cannot be opened ({type(error).__name__}). Check its permissions."
    except MalformedHeader as error:
        kind, reason = "unreadable", f"The header holds a value of {error.keyword} that makes no sense. Export the file again."
    except Exception as error:  # damaged bytes may make the parser raise anything, and its words would quote the header
        kind, reason = "unreadable", f"The header is damaged ({type(error).__name__}). Export the file again."
    return Problem(name, kind, reason)


def open_dataset(path: Path) -> pydicom.Dataset:
    """A whole file, also one without preamble; its transfer syntax is filled in where the file does not state one."""
    with path.open("rb") as file:
        bare = not _has_preamble(file)
        dataset = pydicom.dcmread(file, force=bare)
    _state_transfer_syntax(dataset)
    return dataset


def _read_header(file: BinaryIO, path: Path, name: str) -> list[Plane] | Problem:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return Problem(name, "unreadable", "The file is empty. Copy or export it again.")
    bare = not _has_preamble(file)
    if bare and not _may_be_bare_dataset(file):
        return Problem(name, "not_dicom", "This is not a DICOM file; it is left out.")
    dataset = pydicom.filereader.read_partial(file, _at_pixels, force=bare, specific_tags=_TAGS)
    if bare and not dataset.get("SOPClassUID"):
        return Problem(name, "not_dicom", "This is not a DICOM file; it is left out.")
    _state_transfer_syntax(dataset)
    return _refusal(dataset, name, _pixel_extent(file, dataset, size)) or planes_of(dataset, path, name)


def _at_pixels(tag: int, representation: str | None, length: int) -> bool:
    return tag in _PIXEL_TAGS


def _has_preamble(file: BinaryIO) -> bool:
    """True for a file as PS3.10 section 7.1 wants it; leaves the file at its start."""
    start = file.read(132)
    file.seek(0)
    return start[128:] == b"DICM"


def _may_be_bare_dataset(file: BinaryIO) -> bool:
    """True if the first bytes are a tag of group 0002 or 0008 with a plausible value representation or length."""
    start = file.read(8)
    file.seek(0)
    if len(start) < 8 or start[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or struct.unpack("<L", start[4:])[0] < 1 << 16


def _state_transfer_syntax(dataset: pydicom.Dataset) -> None:
    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    implicit, little = dataset.original_encoding
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(
        "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
    )


def _pixel_extent(file: BinaryIO, dataset: pydicom.Dataset, size: int) -> tuple[int, int] | None:
    """Bytes of pixel data that the file states (-1 if undefined, as in compressed files) and bytes it holds; None without pixel data.

    `file` stands where the parser stopped: at the pixel data, or at the end.
    """
    if dataset.file_meta.TransferSyntaxUID == _DEFLATED:
        return _inflated_extent(file)
    order = "<" if dataset.original_encoding[1] else ">"
    start, head = file.tell(), file.read(12)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    if group << 16 | element not in _PIXEL_TAGS:
        return None
    # Lengths are even, and these letters read as a length are odd: so the bytes themselves tell explicit from implicit representation.
    first = 8 if head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN") else 4
    length = int.from_bytes(head[first : first + 4], "little" if order == "<" else "big")
    return -1 if length == _UNDEFINED_LENGTH else length, size - start - first - 4


def _inflated_extent(file: BinaryIO) -> tuple[int, int] | None:
    """The deflated syntax compresses the data set as a whole: it has to be inflated to see whether there are pixels."""
    file.seek(0)
    dataset = pydicom.filereader.read_partial(file, specific_tags=[pydicom.tag.Tag(tag) for tag in _PIXEL_TAGS])
    return next(((dataset.get_item(tag).length, len(dataset[tag].value)) for tag in _PIXEL_TAGS if tag in dataset), None)


def _refusal(dataset: pydicom.Dataset, name: str, extent: tuple[int, int] | None) -> Problem | None:
    """Why a DICOM file cannot be used, if it cannot."""
    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    if kind == _DICOMDIR:
        return Problem(name, "dicomdir", "A DICOMDIR lists files and is no image; the files themselves are read.")
    if kind in _NOT_TO_BE_SCORED:
        return Problem(name, "no_image", f"This is {_NOT_TO_BE_SCORED[kind]} and no image to score; it is left out.")
    if extent is None:
        what = _standard_name(kind, "a private object")
        cut = " It is a bare header, or the file is cut off." if dataset.get("Rows") else ""
        return Problem(name, "no_image", f"This object ({what}) has no pixel data; it is left out.{cut}")
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        return Problem(
            name, "mosaic", "This picture is a mosaic of all slices of a volume (Siemens). Convert it, with dcm2niix for example."
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    if not decoders_for(syntax):
        what = _standard_name(syntax, "a private transfer syntax")
        return Problem(name, "pixel_decode:NoDecoder", f"There is no decoder for {what}. Convert the file to JPEG-LS lossless.")
    return _size_refusal(dataset, name, *extent)


def _standard_name(uid: str, otherwise: str) -> str:
    name = pydicom.uid.UID(uid).name
    return otherwise if name == uid else name


def _size_refusal(dataset: pydicom.Dataset, name: str, stated: int, held: int) -> Problem | None:
    rows, columns, bits = (dataset.get(keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    if not (rows and columns and bits):
        return Problem(name, "unreadable", "The header does not state rows, columns and bits of the image. Export the file again.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    values = rows * columns * (dataset.get("SamplesPerPixel") or 1) * frames
    if values > _MOST_VALUES:
        return Problem(name, "unreadable", f"The header promises {values} pixel values, more than {_MOST_VALUES}. Export the file again.")
    wanted = max(stated, 8 * frames)  # each compressed frame begins with a tag and a length
    if stated >= 0 and not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        subsampled = dataset.get("PhotometricInterpretation") == "YBR_FULL_422"  # two samples a pixel instead of three
        wanted = max(stated, values * bits * (2 if subsampled else 3) // 24)
    held = min(stated, held) if stated >= 0 else held
    if held < wanted:
        return Problem(name, "truncated", f"The file is cut off: {held} of {wanted} bytes of pixels. Copy or export it again.")
    return None
