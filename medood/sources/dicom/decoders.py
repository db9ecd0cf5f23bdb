"""Which library decodes which transfer syntax (PS3.5 section 10), and the decoding of one frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medood.sources.dicom.library import pydicom
from medood.sources.dicom.simpleitk import decode_with_simpleitk

SIMPLEITK = "SimpleITK"

# Fastest exact library first, as measured on real images; without a preference pydicom would take GDCM, several times slower on JPEG
# and JPEG-LS. Plugins that are not installed are passed over: pylibjpeg decodes the older JPEGs only with its GPL companion.
_JPEG_8_BIT = ("pillow", "gdcm", "pylibjpeg", SIMPLEITK)
_JPEG_12_BIT = ("pillow", "gdcm", "pylibjpeg", SIMPLEITK)
_JPEG_LOSSLESS = ("gdcm", "pylibjpeg", SIMPLEITK)
_JPEG_LS = ("pyjpegls", "gdcm", "pylibjpeg")
_JPEG_2000 = ("pylibjpeg", "gdcm", "pillow")
_HTJ2K = ("pylibjpeg", SIMPLEITK)
_PREFERENCE: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.4.50": _JPEG_8_BIT,
    "1.2.840.10008.1.2.4.51": _JPEG_12_BIT,
    "1.2.840.10008.1.2.4.57": _JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.70": _JPEG_LOSSLESS,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _HTJ2K,
    "1.2.840.10008.1.2.4.202": _HTJ2K,
    "1.2.840.10008.1.2.4.203": _HTJ2K,
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pydicom"),
}
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")


class NoDecoder(Exception):
    """No library at hand can decode a frame. The text names those that tried and the errors they raised, but not their words.

    `cause` is the name of the first error's class.
    """

    def __init__(self, tried: dict[str, str]) -> None:
        super().__init__(", ".join(f"{library}: {kind}" for library, kind in tried.items()))
        self.cause = next(iter(tried.values()), "NoDecoder")


def installed_decoders() -> dict[str, tuple[str, ...]]:
    """Transfer syntaxes that can be read, by their name in the standard: the libraries that decode each, in the order they are tried."""
    syntaxes = (*_NATIVE, *_PREFERENCE)
    return {pydicom.uid.UID(syntax).name: decoders_for(syntax) for syntax in syntaxes if decoders_for(syntax)}


def decoders_for(syntax: str) -> tuple[str, ...]:
    """The installed libraries that decode a transfer syntax UID, in the order to try them; empty if there is none."""
    if syntax in _NATIVE:
        return ("pydicom",)
    if syntax not in _PREFERENCE:
        return ()
    available = pydicom.pixels.get_decoder(syntax).available_plugins
    return tuple(name for name in _PREFERENCE[syntax] if name in available or name == SIMPLEITK)


def decode_frame(dataset: pydicom.Dataset, frame: int) -> tuple[np.ndarray, str]:
    """Decodes frame `frame` (0-based) of a complete dataset.

    Returns the stored values, (rows, columns) or (rows, columns, samples), signs and unused bits set right, and the photometric
    interpretation they now have: codecs undo their own colour transform, and 8-bit YBR_FULL and YBR_FULL_422 become RGB.
    Raises NoDecoder when every library refuses.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    tried: dict[str, str] = {}
    for name in decoders_for(syntax):
        try:
            return _decoder(name)(dataset, frame)
        except Exception as error:  # a codec may raise anything at all on damaged data
            tried[name] = type(error).__name__
    raise NoDecoder(tried)


def _decoder(name: str) -> Callable[[pydicom.Dataset, int], tuple[np.ndarray, str]]:
    if name == SIMPLEITK:
        return decode_with_simpleitk

    def decode(dataset: pydicom.Dataset, frame: int) -> tuple[np.ndarray, str]:
        syntax = dataset.file_meta.TransferSyntaxUID
        plugin = name if syntax in _PREFERENCE else ""
        options = {"decoding_plugin": plugin, "allow_excess_frames": False}
        stored, properties = pydicom.pixels.get_decoder(syntax).as_array(dataset, index=frame, **options)
        return stored, str(properties["photometric_interpretation"])

    return decode
