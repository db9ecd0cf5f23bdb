"""From stored values to physical ones (PS3.3 C.11.1, C.7.6.3): rescale, polarity, padding, colour; the display window is kept apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medood.core.volume import Voi
from medood.sources.dicom.decoding.frames import Frames
from medood.sources.dicom.elements import FrameHeader, MalformedHeader, numbers, text
from medood.sources.dicom.layout import Layout
from medood.sources.dicom.library import pydicom

_MOST = 1e30  # beyond it the values would not fit into float32
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"


class Unsupported(ValueError):
    """Pixels that decode but have no meaning here; the text says why and quotes nothing from the file."""


@dataclass
class Slice:
    """One frame: values float32 (channels, rows, columns); padding bool (rows, columns) or None; its display window or None; issues."""

    values: np.ndarray
    padding: np.ndarray | None = None
    voi: Voi | None = None
    issues: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Table:
    """A lookup table: entry 0 belongs to the value `first`, entries reach up to `highest`."""

    entries: np.ndarray
    first: int
    highest: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values below the first entry get the first, values beyond the last get the last."""
        return self.entries[np.clip(values.astype(np.int64) - self.first, 0, len(self.entries) - 1)]


def read_slice(dataset: pydicom.Dataset, frames: Frames, frame: int) -> Slice:
    """Decodes a frame of a complete dataset into physical values, 0..255 for colour.

    Raises NoDecoder, MissingFrame, MalformedHeader or Unsupported.
    """
    header = FrameHeader(dataset, frame)
    decoded = frames.decode(frame)
    return replace(_slice(decoded.stored, decoded.photometric, header, frames.layout, dataset), issues=decoded.issues)


def check_values(header: FrameHeader, little_endian: bool) -> None:
    """Raises MalformedHeader where the header alone shows that its frame has no physical values."""
    _table(header, "ModalityLUTSequence", little_endian) or _rescale(header)


def _slice(stored: np.ndarray, photometric: str, header: FrameHeader, layout: Layout, dataset: pydicom.Dataset) -> Slice:
    if stored.ndim == 3:
        return Slice(_rgb(stored, photometric, layout))
    if photometric == "PALETTE COLOR":
        return Slice(_from_palette(stored, dataset, header))
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Unsupported("a photometric interpretation other than grey, palette, RGB and YBR")
    return _grey(stored, photometric, header, layout, bool(dataset.original_encoding[1]))


def _grey(stored: np.ndarray, photometric: str, header: FrameHeader, layout: Layout, little_endian: bool) -> Slice:
    padding = _padding(stored, header)
    values, mirror = _physical(stored, header, layout.bits_stored, little_endian)
    voi = _voi(header, little_endian, signed=stored.dtype.kind == "i" or _rescale(header)[1] < 0)
    if photometric == "MONOCHROME1":
        values, voi = mirror - values, _mirrored(voi, mirror)
    values = values.astype(np.float32, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        padding = ~finite if padding is None else padding | ~finite
    return Slice(values[None], padding if padding is not None and padding.any() else None, voi)


def _physical(stored: np.ndarray, header: FrameHeader, bits: int, little_endian: bool) -> tuple[np.ndarray, float]:
    """Values after the modality transform, and the sum of each value and its counterpart in the opposite polarity.

    MONOCHROME1 is turned by a rule that depends on the header alone, never on the image: stored values are counted down from the
    highest that their bits allow, or the entries of a modality table from the highest of theirs.
    """
    if table := _table(header, "ModalityLUTSequence", little_endian):
        table = replace(table, first=int(_as_stored(table.first, stored.dtype)))
        return table(stored).astype(np.float32), float(table.highest)
    slope, intercept = _rescale(header)
    signed = stored.dtype.kind == "i"
    mirror = slope * (-1 if signed else 2**bits - 1) + 2 * intercept if stored.dtype.kind in "iu" else 2 * intercept
    if (slope, intercept) == (1.0, 0.0):
        return stored.astype(np.float32), mirror
    return stored * slope + intercept, mirror


def _rescale(header: FrameHeader) -> tuple[float, float]:
    """Slope and intercept; a parametric map states them as a real world value mapping instead (PS3.3 C.7.6.16.2.11)."""
    names = ("RescaleSlope", "RescaleIntercept")
    if text(header, "SOPClassUID") == _PARAMETRIC_MAP:
        names = ("RealWorldValueSlope", "RealWorldValueIntercept")
    slope, intercept = (numbers(header, name) for name in names)
    for name, value in zip(names, (slope, intercept), strict=True):
        if value and (abs(value[0]) > _MOST or (value[0] == 0 and value is slope)):
            raise MalformedHeader(name)
    return (slope or (1.0,))[0], (intercept or (0.0,))[0]


def _padding(stored: np.ndarray, header: FrameHeader) -> np.ndarray | None:
    """True where the scanner recorded nothing (PS3.3 C.7.5.1.1.2), None if the header names no such value."""
    kind = "" if stored.dtype.kind != "f" else "Float" if stored.dtype.itemsize == 4 else "DoubleFloat"
    names = f"{kind}PixelPaddingValue", f"{kind}PixelPaddingRangeLimit"
    value, limit = (numbers(header, name) for name in names)
    if value is None:
        return None
    low, high = sorted(_as_stored(v, stored.dtype) for v in (value[0], (limit or value)[0]))
    return (stored >= low) & (stored <= high)


def _as_stored(value: float, dtype: np.dtype) -> float:
    """A 16-bit header value with the sign that the pixels have: writers confuse US and SS."""
    if dtype.kind == "u" and value < 0:
        return value + 2**16
    if dtype.kind == "i" and value >= 2**15:
        return value - 2**16
    return value


def _table(header: FrameHeader, keyword: str, little_endian: bool) -> _Table | None:
    """The first lookup table of a sequence (PS3.3 C.11.1.1, C.11.2.1.1), None if there is none."""
    items = header.get(keyword)
    if not items:
        return None
    item = items[0]
    try:
        count, first, bits = (int(number) for number in item.LUTDescriptor)
        entries = _entries(item.LUTData, count or 1 << 16, bits, little_endian)
    except Exception:  # pydicom quotes the value in what it raises
        raise MalformedHeader(keyword) from None
    if len(entries) < (count or 1 << 16):
        raise MalformedHeader(keyword)
    return _Table(entries, first, 2**bits - 1)


def _entries(data: Any, count: int, bits: int, little_endian: bool) -> np.ndarray:
    """Table entries from numbers, or from bytes that hold 16 bits an entry, or 8 where that is all an entry needs."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.array(data, dtype=np.int64))
    if bits <= 8 and len(data) < 2 * count:
        return np.frombuffer(data, dtype=np.uint8, count=count).astype(np.int64)
    return np.frombuffer(data, dtype="<u2" if little_endian else ">u2", count=count).astype(np.int64)


def _voi(header: FrameHeader, little_endian: bool, signed: bool) -> Voi | None:
    """The display transform: the first table, else the first window. One that makes no sense is none, for it is not needed.

    `signed` says that physical values may be negative: then a table's first value is SS, which some writers call US.
    """
    try:
        if table := _table(header, "VOILUTSequence", little_endian):
            first = table.first - (1 << 16) if signed and table.first >= 1 << 15 else table.first
            return Voi(lut=table.entries.astype(np.float32), first=first)
        centre, width = numbers(header, "WindowCenter"), numbers(header, "WindowWidth")
    except MalformedHeader:
        return None
    if not (centre and width) or width[0] <= 0:
        return None
    function = text(header, "VOILUTFunction").upper()
    return Voi(centre[0], width[0], function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR")


def _mirrored(voi: Voi | None, mirror: float) -> Voi | None:
    """The display transform for turned values: it shows them bright where it showed the old ones dark."""
    if voi is None:
        return None
    if voi.lut is not None:
        turned = voi.lut.max() + voi.lut.min() - voi.lut[::-1]
        return replace(voi, lut=turned, first=round(mirror) - voi.first - len(voi.lut) + 1)
    shift = 1.0 if voi.function == "LINEAR" else 0.0  # C.11.2.1.2.1 takes half a unit from the centre, which now lies on its other side
    return replace(voi, centre=mirror - voi.centre + shift)


def _rgb(stored: np.ndarray, photometric: str, layout: Layout) -> np.ndarray:
    if photometric != "RGB" or stored.shape[2] != 3 or stored.dtype.kind != "u":
        raise Unsupported("a colour space other than RGB and YBR")
    return _to_255(stored, 2**layout.bits_stored - 1)


def _from_palette(stored: np.ndarray, dataset: pydicom.Dataset, header: FrameHeader) -> np.ndarray:
    """PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6."""
    descriptor = numbers(header, "RedPaletteColorLookupTableDescriptor", 3)
    if descriptor is None:
        raise Unsupported("palette colour without a palette")
    count, first, bits = (int(number) for number in descriptor)
    count, first = count or 1 << 16, int(_as_stored(first, stored.dtype))
    if header.get("RedPaletteColorLookupTableData"):
        little = bool(dataset.original_encoding[1])
        colours = [_entries(header.get(f"{name}PaletteColorLookupTableData"), count, bits, little) for name in ("Red", "Green", "Blue")]
        palette = np.stack(colours, axis=-1)
    else:  # segments, which pydicom expands
        palette = pydicom.pixels.apply_color_lut(np.arange(first, first + count, dtype=np.int32), dataset)[:, :3]
    return _to_255(_Table(palette, first, 2**bits - 1)(stored), 2**bits - 1)


def _to_255(colours: np.ndarray, highest: int) -> np.ndarray:
    """(rows, columns, 3) from 0..highest to float32 (3, rows, columns) of 0..255."""
    values = colours.transpose(2, 0, 1).astype(np.float32)
    return values if highest == 255 else values * np.float32(255 / highest)
