"""Whoever takes results, by DICOMweb or by C-STORE."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from medood.core.errors import MedoodError

_NOT_SUPPORTED, _NO_ROOM, _NO_MATCH, _NOT_UNDERSTOOD = 0x0122, 0xA700, 0xA900, 0xC000


class ArchiveError(MedoodError):
    """The archive did not do what it was asked; it may do it later."""


class Declined(ArchiveError):
    """It answered, and did not take this one object."""


class Destination(Protocol):
    """An archive. Its methods raise ArchiveError, with a sentence that names nobody."""

    def has(self, study: str, sop: str) -> bool:
        """Whether it has an object; False also when it cannot be asked."""
        ...

    def send(self, study: str, path: Path) -> str:
        """Empty once it has confirmed that it has the file; why, if it never will take it."""
        ...


def verdict(archive: str, code: int, dataset: Any) -> str:
    """What a status of C-STORE or a FailureReason of STOW-RS means (PS3.4 B.2.3, PS3.18 10.5.3): empty for taken, why for never.

    Raises ArchiveError when the same may go well later.
    """
    if code == 0 or code & 0xF000 == 0xB000:  # a warning: taken, with something changed
        return ""
    if code == _NOT_SUPPORTED or code & 0xFF00 == _NO_MATCH or code & 0xF000 == _NOT_UNDERSTOOD:
        return f"the archive refuses {dataset.SOPClassUID.name} (0x{code:04X})"
    if code & 0xFF00 == _NO_ROOM:
        raise ArchiveError(f"{archive} has no room for a result (0x{code:04X}).")
    raise Declined(f"{archive} did not take a result ({dataset.SOPClassUID.name}, 0x{code:04X}).")
