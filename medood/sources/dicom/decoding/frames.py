"""Which library decodes which transfer syntax (PS3.5 section 10), and the decoding of the frames of a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medood.sources.dicom.decoding.codestream import checked
from medood.sources.dicom.decoding.libraries import PILLOW, SIMPLEITK
from medood.sources.dicom.decoding.process import DecoderFailed, decode_apart
from medood.sources.dicom.layout import Layout
from medood.sources.dicom.library import pydicom

# Fastest exact library first, as measured on real images; without a preference pydicom would take GDCM, several times slower on JPEG
# and JPEG-LS. Plugins that are not installed are passed over: pylibjpeg decodes the older JPEGs only with its GPL companion.
_JPEG = (PILLOW, "gdcm", "pylibjpeg", SIMPLEITK)
_JPEG_LOSSLESS = ("gdcm", "pylibjpeg", SIMPLEITK)
_JPEG_LS = ("pyjpegls", "gdcm", "pylibjpeg")
_JPEG_2000 = ("pylibjpeg", "gdcm", PILLOW)
_HTJ2K = ("pylibjpeg", SIMPLEITK)
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_RLE = "1.2.840.10008.1.2.5"
_PREFERENCE: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.4.50": _JPEG,
    _JPEG_EXTENDED: _JPEG,
    "1.2.840.10008.1.2.4.57": _JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.70": _JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _HTJ2K,
    "1.2.840.10008.1.2.4.202": _HTJ2K,
    "1.2.840.10008.1.2.4.203": _HTJ2K,
    _RLE: ("pylibjpeg", "pydicom"),
}
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")


class NoDecoder(Exception):
    """No library at hand can decode a frame. The text names those that tried and the errors they raised, but not their words.

    `cause` is the name of the first error's class.
    """

    def __init__(self, tried: dict[str, str]) -> None:
        super().__init__(", ".join(f"{library}: {kind}" for library, kind in tried.items()))
        self.cause = next(iter(tried.values()), "NoDecoder")


class MissingFrame(Exception):
    """The file holds fewer frames than its header promises; the text says how many of how many."""


def installed_decoders() -> dict[str, tuple[str, ...]]:
    """Transfer syntaxes that can be read, by their name in the standard: the libraries that decode each, in the order they are tried."""
    syntaxes = (*_NATIVE, *_PREFERENCE)
    return {pydicom.uid.UID(syntax).name: decoders_for(syntax) for syntax in syntaxes if decoders_for(syntax)}


def decoders_for(syntax: str, bits: int = 8) -> tuple[str, ...]:
    """The installed libraries that decode a transfer syntax UID, in the order to try them; empty if there is none."""
    if syntax in _NATIVE:
        return ("pydicom",)
    if syntax not in _PREFERENCE:
        return ()
    available = pydicom.pixels.get_decoder(syntax).available_plugins
    unfit = (PILLOW, "gdcm") if syntax == _JPEG_EXTENDED and bits > 8 else ()
    return tuple(name for name in _PREFERENCE[syntax] if name not in unfit and (name in available or name == SIMPLEITK))


@dataclass(frozen=True)
class Decoded:
    """Stored values of a frame, the photometric interpretation they now have, and codes of what is odd about them."""

    stored: np.ndarray
    photometric: str
    issues: tuple[str, ...]


class Frames:
    """The frames of a complete dataset, whose pixels lie as `layout` says."""

    def __init__(self, dataset: pydicom.Dataset, layout: Layout) -> None:
        self.layout = layout
        self._dataset = dataset
        self._syntax = dataset.file_meta.TransferSyntaxUID

    def decode(self, number: int) -> Decoded:
        """Decodes frame `number` (0-based) to what libraries.decode describes. Raises NoDecoder, MissingFrame or MalformedHeader."""
        return self._native(number) if self._syntax in _NATIVE else self._compressed(number)

    def _native(self, number: int) -> Decoded:
        element = self._dataset[self.layout.keyword]
        options: dict[str, Any] = {"allow_excess_frames": False, "pixel_vr": element.VR, **self.layout.options()}
        stored, properties = pydicom.pixels.get_decoder(self._syntax).as_array(element.value, index=number, **options)
        return Decoded(stored, str(properties["photometric_interpretation"]), self.layout.issues)

    def _compressed(self, number: int) -> Decoded:
        if number >= len(self._encoded):
            raise MissingFrame(f"{len(self._encoded)} of {self.layout.frames}")
        frame = self._encoded[number]
        layout = checked(self.layout, frame, self._syntax)
        excess = len(self._encoded) > self.layout.frames
        issues = [*layout.issues, "excess_pixel_data"] if excess else [*layout.issues]
        tried: dict[str, str] = {}
        for name in decoders_for(self._syntax, layout.bits_stored):
            try:
                stored, photometric, warned = decode_apart(name, frame, layout, self._syntax)
            except DecoderFailed as error:
                tried[name] = str(error)
            else:
                if not (tried and warned):  # what one library refuses and the next one complains of is damaged
                    return Decoded(stored, photometric, (*issues, self._warning(name)) if warned else tuple(issues))
                tried[name] = "Warning"
            issues.append(self._warning(name))
        raise NoDecoder(tried)

    @cached_property
    def _encoded(self) -> list[bytes]:
        dataset, offsets = self._dataset, None
        if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
            offsets = dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
        return list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=self.layout.frames, extended_offsets=offsets))

    def _warning(self, plugin: str) -> str:
        """The code for a library that warned, or refused what the next one decoded."""
        library = plugin if plugin != "pylibjpeg" else "pylibjpeg-rle" if self._syntax == _RLE else "openjpeg"
        return f"decoder_warning:{library}"
