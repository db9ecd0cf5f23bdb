"""Names of files made from ids: readable, and fit for every file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SUFFIX = re.compile(r"\.(png|jpe?g|tiff?|bmp|dcm|nii|nii\.gz)$", re.IGNORECASE)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LONGEST = 120  # bytes, of the 255 that a file system holds, so that endings fit too


class FileNames:
    """Gives every id a name of its own; ids that would share one, also where capitals do not count, get numbers. `taken` are in use."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.casefold() for name in taken}
        self._numbers: dict[str, int] = {}

    def give(self, identifier: str) -> str:
        plain = plain_name(identifier)
        name, number = plain, self._numbers.get(plain.casefold(), 1)
        while name.casefold() in self._taken:
            number += 1
            name = f"{plain}-{number}"
        self._taken.add(name.casefold())
        self._numbers[plain.casefold()] = number
        return name


def plain_name(identifier: str) -> str:
    """Letters, digits, `.`, `_` and `-` of an id, without the ending that names an image format: `a/b c.png` is `a_b_c`."""
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", _SUFFIX.sub("", identifier))).strip("._")
    text = text.encode("utf-8")[-_LONGEST:].decode("utf-8", "ignore").strip("._")
    return f"_{text}" if _RESERVED.match(text) else text or "image"
