"""What a compressed frame says of itself, and whether it contradicts the header: JPEG and JPEG-LS (T.81, T.87) and JPEG 2000 (T.800)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from struct import error as struct_error
from struct import unpack_from

from medood.sources.dicom.elements import MalformedHeader
from medood.sources.dicom.layout import Layout

_JPEG_2000 = b"\xff\x4f\xff\x51"
_LONGEST_WRAPPING = 4096  # bytes: some writers wrap the codestream into a JP2 file
_JPEG = b"\xff\xd8"
# Start of frame: SOF0 to SOF15 without the tables and the extension that lie between (T.81 B.1.1.3), and that of JPEG-LS
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7})
_START_OF_SCAN = 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_RLE = "1.2.840.10008.1.2.5"
_MOST_OF_RLE = 64  # bytes that one can stand for (PS3.5 G.3.1)
_COLOUR_IN_STREAM = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")


@dataclass(frozen=True)
class Codestream:
    """Size, components and bits of a compressed frame.

    ycc  True if it proves that its components are luminance and colour differences, False if it proves them red, green and blue, None if
         it says nothing
    """

    rows: int
    columns: int
    components: int
    precision: int
    ycc: bool | None = None


def codestream_of(frame: bytes) -> Codestream | None:
    """What the beginning of a frame says, None where it is no JPEG of any kind or is cut off before it says it."""
    try:
        if frame.startswith(_JPEG):
            return _jpeg(frame)
        start = frame.find(_JPEG_2000, 0, _LONGEST_WRAPPING)
        return _jpeg_2000(frame, start) if start >= 0 else None
    except (IndexError, struct_error):
        return None


def checked(layout: Layout, frame: bytes, syntax: str) -> Layout:
    """The layout of a compressed frame, its colour space set right where the frame proves it. Raises MalformedHeader."""
    if syntax == _RLE and _MOST_OF_RLE * len(frame) < layout.length // layout.frames:
        raise MalformedHeader("Rows", "and Columns promise more pixels than the compressed image can hold")
    stream = codestream_of(frame)
    if stream is None:
        return layout
    for keyword, said, found in (
        ("Rows", layout.rows, stream.rows),
        ("Columns", layout.columns, stream.columns),
        ("SamplesPerPixel", layout.samples, stream.components),
    ):
        if found and said != found:  # a JPEG may leave its height open
            raise MalformedHeader(keyword, f"is {said}, but the compressed image has {found}")
    if stream.precision > layout.bits_allocated:
        raise MalformedHeader("BitsAllocated", f"is {layout.bits_allocated}, but the compressed image has {stream.precision} bits")
    if layout.samples == 3 and stream.ycc is not None and syntax in _COLOUR_IN_STREAM and stream.ycc != (layout.photometric != "RGB"):
        colours = "YBR_FULL" if stream.ycc else "RGB"
        return replace(layout, photometric=colours, issues=(*layout.issues, "colour_space_corrected"))
    return layout


def _jpeg(frame: bytes) -> Codestream | None:
    at, jfif, adobe = 2, False, None
    while True:
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker == 0xFF or marker in _ALONE:  # filling
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME:
            return _frame_header(frame, at + 4, jfif, adobe)
        if marker == _START_OF_SCAN:
            return None
        (length,) = unpack_from(">H", frame, at + 2)
        jfif = jfif or (marker == 0xE0 and frame[at + 4 : at + 8] == b"JFIF")
        if marker == 0xEE and frame[at + 4 : at + 9] == b"Adobe" and length >= 14:
            adobe = frame[at + 15]
        at += 2 + length


def _frame_header(frame: bytes, at: int, jfif: bool, adobe: int | None) -> Codestream:
    precision, rows, columns, components = unpack_from(">BHHB", frame, at)
    described = [unpack_from(">BB", frame, at + 6 + 3 * k) for k in range(components)]
    ycc = None
    if components == 3:
        subsampled = len({sampling for _, sampling in described}) > 1
        letters = bytes(name for name, _ in described).upper() == b"RGB"
        # in the order in which libjpeg believes them; nobody stores red and blue at half the resolution of green
        ycc = True if jfif else adobe != 0 if adobe is not None else False if letters else True if subsampled else None
    return Codestream(rows, columns, components, precision, ycc)


def _jpeg_2000(frame: bytes, at: int) -> Codestream | None:
    """The size segment; all components are taken to be as deep as the first. None where it is damaged."""
    right, lower, left, upper = unpack_from(">4I", frame, at + 8)
    components, depth = unpack_from(">HB", frame, at + 40)
    rows, columns = lower - upper, right - left
    return Codestream(rows, columns, components, (depth & 0x7F) + 1) if 0 < min(rows, columns) <= max(rows, columns) < 1 << 16 else None
