"""DICOM files of many kinds, and the damage that copying, writers and malice do to them."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from dicom_writer import SECRET, write_enhanced, write_image
from pydicom.dataset import Dataset

from medood.sources.dicom.library import quiet

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big endian": "1.2.840.10008.1.2.2",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG .50": "1.2.840.10008.1.2.4.50",
    "JPEG .57": "1.2.840.10008.1.2.4.57",
    "JPEG .70": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
}
ROWS, COLUMNS = np.mgrid[:40, :36]
DEEP = (2000 + 1500 * np.sin(ROWS / 9) * np.cos(COLUMNS / 7)).astype(np.uint16)
GREY = (DEEP // 16).astype(np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)

_KEYWORDS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "NumberOfFrames", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope"),
    *("RescaleIntercept", "SliceThickness", "PixelPaddingValue", "WindowCenter", "WindowWidth", "Modality", "Manufacturer", "ImageType"),
    *("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "PatientID", "EchoTime"),
    *("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "ModalityLUTSequence", "VOILUTSequence"),
    *("RedPaletteColorLookupTableDescriptor", "SpecificCharacterSet", "AcquisitionTime"),
)
_ABSURD: tuple[tuple[str, Any], ...] = (
    *(("US", value) for value in (0, 1, 3, 17, 65535, [0, 0, 0], [1, 1, 65000])),
    *(("SS", -5), ("UL", 2**32 - 1), ("FD", float("nan")), ("FD", 1e300), ("FD", -1e-300)),
    *(("LO", SECRET), ("LO", ""), ("LO", [SECRET] * 3), ("DS", ["1e40"] * 6), ("DS", ["0"] * 6), ("IS", "-1"), ("IS", str(2**31 - 1))),
    *(("SQ", []), ("SQ", [Dataset()]), ("OB", b"\xff" * 64), ("OW", bytes(2**16)), ("UN", b"\0\1\2")),
    *(("CS", value) for value in ("RGB", "MONOCHROME1", "YBR_FULL_422", "PALETTE COLOR")),
)


def write_kinds(root: Path, syntax: str) -> list[Path]:
    """One file of each kind in a transfer syntax: a deep slice, colours, frames one after another and in the patient."""
    frames = np.stack([GREY, GREY[::-1]])
    paths = [
        write_image(root / "colour", COLOUR, syntax=syntax),
        write_image(root / "cine", frames, syntax=syntax, frames=True, modality="US"),
        write_enhanced(root / "enhanced", frames, np.diag([-1.0, -1.0, 2.0, 1.0]), syntax=syntax, modality="MR"),
    ]
    if not syntax.endswith(".50"):
        paths.append(write_image(root / "deep", DEEP, syntax=syntax, bits=12, modality="CT"))
    return paths


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """A file with one kind of damage, chosen by chance."""
    kinds = (_flipped, _cut, _shifted, _header, _stream, _absurd)
    with quiet():  # pydicom says of some of these values what it thinks of them
        return bytes(kinds[int(random.integers(len(kinds)))](bytearray(content), random))


def _flipped(content: bytearray, random: np.random.Generator) -> bytes:
    for at in random.integers(0, len(content), random.integers(1, 6)):
        content[at] ^= 1 << int(random.integers(8))
    return content


def _cut(content: bytearray, random: np.random.Generator) -> bytes:
    return content[: int(random.integers(len(content)))]


def _shifted(content: bytearray, random: np.random.Generator) -> bytes:
    at, length = int(random.integers(len(content))), int(random.integers(1, 200))
    return content[:at] + random.bytes(length) + content[at + length * int(random.integers(2)) :]


def _header(content: bytearray, random: np.random.Generator) -> bytes:
    for at in random.integers(132, min(len(content), 1500), random.integers(1, 12)):
        content[at] = random.integers(256)
    return content


def _stream(content: bytearray, random: np.random.Generator) -> bytes:
    """Bytes among the first of a compressed frame, where codecs read sizes and tables; else in the last third, where pixels are."""
    item = b"\xfe\xff\x00\xe0"
    start = content.find(item, content.find(item, 1000) + 4)
    start, end = (start, start + 160) if start > 0 else (len(content) * 2 // 3, len(content))
    for at in random.integers(start, min(len(content), end), random.integers(1, 6)):
        content[at] = random.choice([0, 255, int(random.integers(256))])
    return content


def _absurd(content: bytearray, random: np.random.Generator) -> bytes:
    """One to three elements gone, or with values that make no sense."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    written = io.BytesIO(content)
    with warnings.catch_warnings(), suppress(Exception):  # pydicom does not write all that the bytes of a file can hold
        warnings.simplefilter("ignore")
        for keyword in random.choice(_KEYWORDS, random.integers(1, 4), replace=False):
            if random.integers(6) == 0:
                dataset.pop(pydicom.tag.Tag(keyword), None)
            else:
                dataset.add_new(str(keyword), *_ABSURD[int(random.integers(len(_ABSURD)))])
        new = io.BytesIO()
        dataset.save_as(new)
        written = new
    return written.getvalue()
