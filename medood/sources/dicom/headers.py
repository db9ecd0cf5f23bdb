"""Walks a folder and tells by their content which files are DICOM images; reads headers, never pixels."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from medood.core.errors import InputError
from medood.core.shield import kind_of, shield
from medood.core.volume import Problem
from medood.sources.dicom.decoding.frames import decoders_for
from medood.sources.dicom.elements import FrameHeader, MalformedHeader, uid
from medood.sources.dicom.layout import Layout, checked_length, layout_of
from medood.sources.dicom.library import pydicom
from medood.sources.dicom.pixels import check_values
from medood.sources.dicom.planes import HEADER_KEYWORDS, Plane, planes_of
from medood.sources.dicom.record import HEADER
from medood.sources.indexing import CLOSED_FOLDER, files_below, is_directory
from medood.sources.recall import recall

_TAGS: list[Any] = [pydicom.tag.Tag(keyword) for keyword in HEADER_KEYWORDS]
_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"
_OTHER_NAME = re.compile(r"\.(?!(dcm|dic|dicom|ima)$)[a-z]+$", re.IGNORECASE)  # __init__.py, but not 1.2.840
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
MADE_HERE = "medood"
"""The manufacturer that medood's own objects name."""

_RESULTS = frozenset({"OT", "SR", "KO", "SEG"})  # their modalities; phantoms that medood made are MR

_DICOMDIR = "1.2.840.10008.1.3.10"


def find_files(root: Path) -> list[Path]:
    """Every file below `root`, hidden ones too: DICOM files have any name. A root that is a file stands for itself. Raises InputError."""
    return files_below(root, hidden=True)


def read_header(path: Path, name: str) -> list[Plane] | Problem:
    """The frames that a file holds, or why it cannot be used; `name` is its path as the user should see it."""
    return recall("dicom", path, name, lambda: _read_header(path, name), HEADER)


def _read_header(path: Path, name: str) -> list[Plane] | Problem:
    uids: dict[str, Any] = {}
    try:
        with shield(name, _refused):
            _require_file(path)
            with path.open("rb") as file:
                dataset = _parsed(file, name)
                uids |= _uids(dataset, name)
                return _planes(file, dataset, path, name)
    except InputError as error:
        message = str(error).removeprefix(f"{name}: ")
        return Problem(name, error.code, message[:1].upper() + message[1:], **uids)


def _require_file(path: Path) -> None:
    """Raises InputError for what is no file, and OSError for one in a folder that may not be entered."""
    if not path.is_file():  # a pipe or a device would wait for ever
        nothing = "This cannot be opened: a link that leads nowhere, or no file at all."
        raise InputError(CLOSED_FOLDER if is_directory(path) else nothing)


def _refused(error: BaseException) -> InputError:
    """What a user reads about an error on the way; the words of other libraries would quote the header."""
    if isinstance(error, OSError):
        return InputError(f"The file cannot be opened ({kind_of(error)}). Check its permissions.")
    if isinstance(error, MalformedHeader):
        return InputError(f"The header's {error}. Correct it, or export the file again.")
    return InputError(f"The header is damaged ({kind_of(error)}). Export the file again.")


def _uids(dataset: pydicom.Dataset, name: str) -> dict[str, Any]:
    header = FrameHeader(dataset, 0)
    return {"study_uid": uid(header, "StudyInstanceUID"), "series_uid": uid(header, "SeriesInstanceUID"), "files": (name,)}


def open_file(path: Path, name: str) -> tuple[pydicom.Dataset, Layout, list[Plane]]:
    """A whole file, also one without preamble, and what its header says. Raises InputError and whatever pydicom raises; shield it."""
    with path.open("rb") as file:
        bare = not _has_preamble(file)
        dataset = pydicom.dcmread(file, force=bare)
    keyword = next((keyword for tag, keyword in _PIXEL_TAGS.items() if tag in dataset), None)
    if keyword is None:  # pydicom loses an element that does not end, and all before it
        raise InputError(f"{name}: the file is cut off in its pixels. Copy or export it again.", "truncated")
    _state_transfer_syntax(dataset)
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    layout = layout_of(FrameHeader(dataset, 0), keyword, encapsulated)
    return dataset, layout, planes_of(dataset, path, name, layout)


def _parsed(file: BinaryIO, name: str) -> pydicom.Dataset:
    """The header of a DICOM file; leaves the file at its pixels, or at its end. Raises InputError for what is no DICOM file."""
    no_dicom = InputError("This is not a DICOM file; it is left out.", "not_dicom")
    if os.fstat(file.fileno()).st_size == 0:
        raise no_dicom if _OTHER_NAME.search(name) else InputError("The file is empty. Copy or export it again.")
    bare = not _has_preamble(file)
    if bare and not _may_be_bare_dataset(file):
        raise no_dicom
    dataset = pydicom.filereader.read_partial(file, _at_pixels, force=bare, specific_tags=_TAGS)
    if bare and not dataset.get("SOPClassUID"):
        raise no_dicom
    _state_transfer_syntax(dataset)
    return dataset


def _planes(file: BinaryIO, dataset: pydicom.Dataset, path: Path, name: str) -> list[Plane]:
    """The frames of an image that can be used. Raises InputError or MalformedHeader."""
    if dataset.get("Manufacturer") == MADE_HERE and dataset.get("Modality") in _RESULTS:
        raise InputError("medood made this object itself, of what it found in a series; it is left out.", "own_object")
    pixels = _pixels_to_score(dataset, _pixels_in(file, dataset))
    layout = _checked_layout(dataset, pixels)
    planes = planes_of(dataset, path, name, layout)
    for frame in range(layout.frames):
        check_values(FrameHeader(dataset, frame), bool(dataset.original_encoding[1]))
    return planes


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


@dataclass(frozen=True)
class _Pixels:
    """Pixel data as it lies in a file.

    stated  bytes by its header, -1 if undefined, as in compressed files
    held    bytes that the file has from there to its end
    items   whether they begin as compressed frames do
    """

    keyword: str
    stated: int
    held: int
    items: bool


def _pixels_in(file: BinaryIO, dataset: pydicom.Dataset) -> _Pixels | None:
    """None without pixel data. `file` stands where the parser stopped: at the pixel data, or at the end."""
    if dataset.file_meta.TransferSyntaxUID == _DEFLATED:
        return _inflated_pixels(file)
    order = "<" if dataset.original_encoding[1] else ">"
    start, head = file.tell(), file.read(16)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    keyword = _PIXEL_TAGS.get(group << 16 | element)
    if keyword is None:
        return None
    # Lengths are even, and these letters read as a length are odd: so the bytes themselves tell explicit from implicit representation.
    first = 8 if head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN") else 4
    stated = int.from_bytes(head[first : first + 4], "little" if order == "<" else "big")
    held = os.fstat(file.fileno()).st_size - start - first - 4
    return _Pixels(
        keyword, -1 if stated == _UNDEFINED_LENGTH else stated, held, head[first + 4 : first + 8] == _ITEM[: len(head) - first - 4]
    )


def _inflated_pixels(file: BinaryIO) -> _Pixels | None:
    """The deflated syntax compresses the data set as a whole: it has to be inflated to see whether there are pixels."""
    file.seek(0)
    dataset = pydicom.filereader.read_partial(file, specific_tags=[pydicom.tag.Tag(tag) for tag in _PIXEL_TAGS])
    for tag, keyword in _PIXEL_TAGS.items():
        element = dataset.get_item(tag) if tag in dataset else None
        if isinstance(element, pydicom.dataelem.RawDataElement):
            return _Pixels(keyword, element.length, len(dataset[tag].value), False)
    return None


def _pixels_to_score(dataset: pydicom.Dataset, pixels: _Pixels | None) -> _Pixels:
    """The pixels of an image. Raises InputError for an object that is no image to be scored, or one that nothing here decodes."""
    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    if kind == _DICOMDIR:
        raise InputError("A DICOMDIR lists files and is no image; the files themselves are read.", "dicomdir")
    if kind in _NOT_TO_BE_SCORED:
        raise InputError(f"This is {_NOT_TO_BE_SCORED[kind]} and no image to score; it is left out.", "no_image")
    if pixels is None:
        what = _standard_name(kind, "a private object")
        cut = " It is a bare header, or the file is cut off." if dataset.get("Rows") else ""
        raise InputError(f"This object ({what}) has no pixel data; it is left out.{cut}", "no_image")
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        advice = "Convert it, with dcm2niix for example."
        raise InputError(f"This picture is a mosaic of all slices of a volume (Siemens). {advice}", "mosaic")
    syntax = dataset.file_meta.TransferSyntaxUID
    if not decoders_for(syntax):
        what = _standard_name(syntax, "a private transfer syntax")
        raise InputError(f"There is no decoder for {what}. Convert the file to JPEG-LS lossless.", "pixel_decode:NoDecoder")
    return pixels


def _standard_name(uid: str, otherwise: str) -> str:
    name = pydicom.uid.UID(uid).name
    return otherwise if name == uid else name


def _checked_layout(dataset: pydicom.Dataset, pixels: _Pixels) -> Layout:
    """The layout of the pixels, which the file has in full. Raises InputError or MalformedHeader."""
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    layout = layout_of(FrameHeader(dataset, 0), pixels.keyword, encapsulated)
    values = layout.rows * layout.columns * layout.samples * layout.frames
    if values > _MOST_VALUES:
        raise InputError(f"The header promises {values} pixel values, more than {_MOST_VALUES}. Export the file again.")
    if encapsulated:
        if not pixels.items:
            raise MalformedHeader("TransferSyntaxUID", "says that the pixels are compressed, but they do not begin as such pixels do")
        wanted, held = 8 * layout.frames, pixels.held  # each frame begins with a tag and a length
    else:
        if pixels.stated < 0:
            raise MalformedHeader("TransferSyntaxUID", "says that the pixels are not compressed, but they are stored as if they were")
        layout = checked_length(layout, pixels.stated)
        wanted, held = max(pixels.stated, layout.length), min(pixels.stated, pixels.held)
    if held < wanted:
        raise InputError(f"The file is cut off: {held} of {wanted} bytes of pixels. Copy or export it again.", "truncated")
    return layout
