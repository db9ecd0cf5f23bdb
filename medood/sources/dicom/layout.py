"""How a header says that pixels are stored (PS3.3 C.7.6.3), with what it leaves out filled in where only one value makes sense."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from medood.sources.dicom.elements import FrameHeader, MalformedHeader, numbers, text

_COLOUR_SPACES = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_BY_LETTERS = {name.replace("_", "").replace(" ", ""): name for name in _COLOUR_SPACES}
_THREE_SAMPLES = frozenset(name for name in _COLOUR_SPACES if name.startswith(("RGB", "YBR")))
_FLOATING = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


@dataclass(frozen=True)
class Layout:
    """The pixels of a file. `frames` of them, each of rows x columns x samples; `photometric` and `planar` as in DICOM.

    keyword  the element that holds them: PixelData, FloatPixelData or DoubleFloatPixelData
    issues   codes of what the header left out or says that it should not, and was read all the same
    """

    keyword: str
    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: int
    issues: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Bytes that the frames take together when they are not compressed."""
        samples = self.rows * self.columns * self.samples * self.frames
        if self.photometric == "YBR_FULL_422":  # two samples a pixel instead of three
            samples = samples * 2 // 3
        return (samples * self.bits_allocated + 7) // 8

    def options(self) -> dict[str, Any]:
        """The layout in the words of pydicom's decoders."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "samples_per_pixel": self.samples,
            "number_of_frames": self.frames,
            "bits_allocated": self.bits_allocated,
            "bits_stored": self.bits_stored,
            "pixel_representation": int(self.signed),
            "photometric_interpretation": self.photometric,
            "planar_configuration": self.planar,
            "pixel_keyword": self.keyword,
        }


def layout_of(header: FrameHeader, keyword: str, encapsulated: bool) -> Layout:
    """The layout of the pixels that the element `keyword` holds. Raises MalformedHeader, which names the element that is wrong."""
    issues: list[str] = []
    rows, columns = (_required(header, name) for name in ("Rows", "Columns"))
    frames = _whole(header, "NumberOfFrames") or 1
    allocated = _bits_allocated(header, keyword)
    photometric = _photometric(header)
    samples = _samples(header, photometric, issues)
    if not photometric:
        photometric = _assumed_photometric(header, samples)
        issues.append("photometric_interpretation_assumed")
    if samples != (3 if photometric in _THREE_SAMPLES else 1):
        raise MalformedHeader("SamplesPerPixel", f"is {samples}, which contradicts a PhotometricInterpretation of {photometric}")
    if photometric == "PALETTE COLOR" and numbers(header, "RedPaletteColorLookupTableDescriptor", 3) is None:
        raise MalformedHeader("RedPaletteColorLookupTableDescriptor", "is missing, but the pixels are colours of a palette")
    _check_ybr(photometric, allocated, columns, encapsulated)
    if keyword in _FLOATING:
        stored, signed = allocated, True
    else:
        stored, signed = _bits_stored(header, allocated, issues), _signed(header, allocated, samples, issues)
    planar = 0 if samples == 1 or encapsulated else _planar(header, issues)
    return Layout(keyword, rows, columns, samples, frames, allocated, stored, signed, photometric, planar, tuple(issues))


def checked_length(layout: Layout, stated: int) -> Layout:
    """The layout of uncompressed pixels that take `stated` bytes. Raises MalformedHeader if they prove it wrong; they may be too few."""
    excess = stated - layout.length
    if layout.photometric == "YBR_FULL_422" and layout.length // 2 * 3 <= stated:
        fault = "is YBR_FULL_422, which takes two bytes a pixel, but there are three; it should be RGB or YBR_FULL"
        raise MalformedHeader("PhotometricInterpretation", fault)
    if excess >= layout.length and excess % layout.length <= 1:
        times = stated // layout.length
        fault = f"holds {times} times the bytes that Rows, Columns, SamplesPerPixel, BitsAllocated and NumberOfFrames promise"
        raise MalformedHeader(layout.keyword, fault)
    return replace(layout, issues=(*layout.issues, "excess_pixel_data")) if excess > 1 else layout


def _whole(header: FrameHeader, keyword: str) -> int | None:
    """The first number of an element, None if it is absent. Raises MalformedHeader where it is not a whole number."""
    found = numbers(header, keyword)
    if found is None:
        return None
    if found[0] != int(found[0]):
        raise MalformedHeader(keyword)
    return int(found[0])


def _required(header: FrameHeader, keyword: str) -> int:
    value = _whole(header, keyword)
    if value is None:
        raise MalformedHeader(keyword, "is missing")
    if not 0 < value < 1 << 16:
        raise MalformedHeader(keyword)
    return value


def _bits_allocated(header: FrameHeader, keyword: str) -> int:
    bits = _FLOATING.get(keyword) or _required(header, "BitsAllocated")
    if bits not in (1, 8, 16, 32, 64):
        raise MalformedHeader("BitsAllocated", f"is {bits}; supported are 1, 8, 16, 32 and 64")
    return bits


def _photometric(header: FrameHeader) -> str:
    """The colour space in the spelling of the standard, "" if the header does not state one."""
    said = text(header, "PhotometricInterpretation")
    if not said:
        return ""
    name = _BY_LETTERS.get(said.upper().replace("_", "").replace(" ", ""))
    if name is None:
        raise MalformedHeader("PhotometricInterpretation", f"is none of {', '.join(_COLOUR_SPACES)}")
    return name


def _samples(header: FrameHeader, photometric: str, issues: list[str]) -> int:
    samples = _whole(header, "SamplesPerPixel")
    if samples is None:
        if not photometric:
            raise MalformedHeader("SamplesPerPixel", "is missing")
        issues.append("samples_per_pixel_assumed")
        return 3 if photometric in _THREE_SAMPLES else 1
    if samples not in (1, 3):
        raise MalformedHeader("SamplesPerPixel", f"is {samples}; supported are 1 and 3")
    return samples


def _assumed_photometric(header: FrameHeader, samples: int) -> str:
    """Grey pixels without a word of their polarity are bright where the value is high; colours and palettes may be several things."""
    if samples == 3:
        raise MalformedHeader("PhotometricInterpretation", "is missing: the colours may be RGB or YBR_FULL")
    if header.get("RedPaletteColorLookupTableDescriptor") is not None:
        raise MalformedHeader("PhotometricInterpretation", "is missing: the pixels may be grey or colours of the palette")
    return "MONOCHROME2"


def _check_ybr(photometric: str, allocated: int, columns: int, encapsulated: bool) -> None:
    if photometric.startswith("YBR_FULL") and allocated != 8:
        raise MalformedHeader("BitsAllocated", f"is {allocated}; {photometric} is supported with 8")
    if not encapsulated and photometric in ("YBR_ICT", "YBR_RCT"):
        raise MalformedHeader("PhotometricInterpretation", f"is {photometric}, which only JPEG 2000 can hold")
    if not encapsulated and photometric == "YBR_FULL_422" and columns % 2:
        raise MalformedHeader("Columns", f"is {columns}, but YBR_FULL_422 stores pixels in pairs")


def _bits_stored(header: FrameHeader, allocated: int, issues: list[str]) -> int:
    stored, high = _whole(header, "BitsStored"), _whole(header, "HighBit")
    if stored is None:
        if high is None and allocated > 8:
            raise MalformedHeader("BitsStored", "is missing")
        issues.append("bits_stored_assumed")
        stored = allocated if high is None else high + 1
    if not 0 < stored <= allocated:
        raise MalformedHeader("BitsStored", f"is {stored}, but BitsAllocated is {allocated}")
    if high is not None and high != stored - 1:
        issues.append("high_bit_ignored")
    return stored


def _signed(header: FrameHeader, allocated: int, samples: int, issues: list[str]) -> bool:
    """PixelRepresentation; colours and single bytes without it are unsigned, in wider pixels it may be either."""
    value = _whole(header, "PixelRepresentation")
    if value is None:
        if samples == 1 and allocated > 8:
            raise MalformedHeader("PixelRepresentation", "is missing: the pixels may be signed or unsigned")
        issues.append("pixel_representation_assumed")
        return False
    if value not in (0, 1):
        raise MalformedHeader("PixelRepresentation", f"is {value}; it must be 0 or 1")
    if value == 1 and samples == 3:
        raise MalformedHeader("PixelRepresentation", "says that the colours are signed, which is not supported")
    return value == 1


def _planar(header: FrameHeader, issues: list[str]) -> int:
    value = _whole(header, "PlanarConfiguration")
    if value is None:
        issues.append("planar_configuration_assumed")
        return 0
    if value not in (0, 1):
        raise MalformedHeader("PlanarConfiguration", f"is {value}; it must be 0 or 1")
    return value
