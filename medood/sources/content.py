"""What kind of file it is, told by its first bytes."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Literal

Kind = Literal["dicom", "nifti", "image"]
Packing = Literal["archive", "compressed"]
"""Several files in one, or one file made smaller."""

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_SUFFIXES: dict[str, Kind] = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".tif": "image",
    ".tiff": "image",
    ".bmp": "image",
    ".dcm": "dicom",
}
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"LZIP", b"\x1f\x9d")
_TAR_NAME = re.compile(r"\.(tar(\.[a-z0-9]+)?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
# A data set without preamble begins with group 0002 or 0008, in little or big endian.
_BARE_DICOM = (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def kind_of(path: Path) -> Kind | None:
    """The kind of a file, or None when it is none of them. Raises OSError when it cannot be opened, as no folder can.

    DICOM comes first, because a DICOM file may also be a valid TIFF (PS3.10 section 7.1 leaves the preamble free). NIfTI goes by its name.
    A file without a known beginning counts as what its name says, so that a damaged picture is reported as one.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return None  # a pipe or a device would wait for ever
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:132] == b"DICM":
        return "dicom"
    if kind_of_name(path.name) == "nifti":
        return "nifti"
    if start.startswith(_PICTURES):
        return "image"
    return kind_of_name(path.name) or ("dicom" if start.startswith(_BARE_DICOM) else None)


def kind_of_name(name: str) -> Kind | None:
    """The kind that the ending of a file's name promises."""
    return next((kind for suffix, kind in _SUFFIXES.items() if name.lower().endswith(suffix)), None)


def packing_of(path: Path) -> Packing | None:
    """How a file that is no image is packed, by its first bytes, and by its name for what a tar was compressed with."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(263)
    if start.startswith(_ARCHIVES) or start[257:262] == b"ustar":
        return "archive"
    if start.startswith(_COMPRESSED):
        return "archive" if _TAR_NAME.search(path.name) else "compressed"
    return None
