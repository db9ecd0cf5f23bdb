"""What kind of file it is, told by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["dicom", "nifti", "image"]

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
# A data set without preamble begins with group 0002 or 0008, in little or big endian.
_BARE_DICOM = (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def kind_of(path: Path) -> Kind | None:
    """The kind of a file, or None when it is none of them. Raises OSError when it cannot be opened.

    DICOM comes first, because a DICOM file may also be a valid TIFF (PS3.10 section 7.1 leaves the preamble free). NIfTI goes by its name.
    A file without a known beginning counts as what its name says, so that a damaged picture is reported as one.
    """
    if path.exists() and not path.is_file():
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
