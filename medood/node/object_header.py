"""What an object that has come says of itself, before anything is made of it; a hostile one must not hurt."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from medood.core.errors import InputError
from medood.core.shield import kind_of, shield
from medood.node.config import Limits
from medood.sources.dicom.library import pydicom

_DEFLATED = "1.2.840.10008.1.2.1.99"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_COUNTS = ("SamplesPerPixel", "NumberOfFrames", "Rows", "Columns")
_TAGS: list[Any] = [pydicom.tag.Tag(word) for word in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", *_COUNTS)]
_LAST = 0x00280011  # Columns: nothing behind it is of interest
_BLOCK = 1 << 20
_PREAMBLE = 132
MB = 1 << 20


@dataclass(frozen=True)
class ObjectHeader:
    """Its UIDs, and a digest of its content that its file's own header is no part of."""

    study: str
    series: str
    sop: str
    digest: bytes


def read_object(path: Path, limits: Limits) -> ObjectHeader:
    """Raises InputError, with a sentence that names nobody, for what is no DICOM object, has no UIDs, or is too large to be decoded."""
    with shield("the object", _damaged), path.open("rb") as file:
        syntax, start = _file_header(file)
        if syntax == _DEFLATED:
            _check_inflated(file, start, limits.object_mb * MB)
        file.seek(0)
        dataset = pydicom.filereader.read_partial(file, _behind, specific_tags=_TAGS)
        _check_pixels(dataset, limits.decoded_mb * MB)
        study, series, sop = (_uid(dataset, word) for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
        return ObjectHeader(study, series, sop, _digest(file, start))


def _damaged(error: BaseException) -> InputError:
    return InputError(f"its header is damaged ({kind_of(error)})", "damaged")


def _behind(tag: Any, representation: str | None, length: int) -> bool:
    return tag > _LAST


def _file_header(file: BinaryIO) -> tuple[str, int]:
    """The transfer syntax, and where the data set begins."""
    if file.read(_PREAMBLE)[-4:] != b"DICM":
        raise InputError("it is no DICOM file", "not_dicom")
    head = file.read(12)  # (0002,0000) UL 4, and how many bytes of group 2 follow
    if head[:8] != b"\x02\x00\x00\x00UL\x04\x00":
        raise InputError("its file header has no length", "damaged")
    start = _PREAMBLE + 12 + int.from_bytes(head[8:], "little")
    file.seek(0)
    meta = pydicom.filereader.read_partial(file, lambda tag, *_: tag >= 0x00030000).file_meta
    return str(meta.get("TransferSyntaxUID", "")), start


def _check_inflated(file: BinaryIO, start: int, most: int) -> None:
    """Inflates piece by piece and keeps nothing: a few kilobytes can stand for gigabytes."""
    file.seek(start)
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    for block in _blocks(file):
        rest = block
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _BLOCK))
            rest = inflater.unconsumed_tail
            if size > most:
                raise InputError(f"it inflates to more than {most // MB} MB (limits.object_mb)", "too_large")


def _check_pixels(dataset: pydicom.Dataset, most: int) -> None:
    count = 4  # bytes of a decoded value
    for word in _COUNTS:
        count *= max(int(dataset.get(word) or 1), 1)
    if count > most:
        raise InputError(f"its pixels would take {count // MB} MB, more than {most // MB} (limits.decoded_mb)", "too_large")


def _uid(dataset: pydicom.Dataset, word: str) -> str:
    value = str(dataset.get(word) or "")
    if not _UID.fullmatch(value) or len(value) > 64:
        raise InputError(f"it has no valid {word}", "damaged")
    return value


def _digest(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    digest = hashlib.sha256()
    for block in _blocks(file):
        digest.update(block)
    return digest.digest()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
