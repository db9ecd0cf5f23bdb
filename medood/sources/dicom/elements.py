"""Reads the elements of a header, of one frame of it, and says which of them cannot be understood."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from math import isfinite
from typing import Any

from medood.sources.dicom.library import pydicom

# Functional groups (PS3.3 C.7.6.16) with elements that a single-frame object has at its root.
_FUNCTIONAL_GROUPS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"),
    *("FrameVOILUTSequence", "RealWorldValueMappingSequence", "FrameContentSequence", "TemporalPositionSequence"),
    *("MREchoSequence", "MRDiffusionSequence", "MRModifierSequence", "CardiacSynchronizationSequence"),
    *("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"),
)
_UID = re.compile(r"[0-9.]{0,64}")
_LONGEST_WORD = 64
_INSIDE_A_GROUP = "DiffusionGradientDirectionSequence"  # of MRDiffusionSequence


class MalformedHeader(ValueError):
    """An element that is missing, or whose value is wrong; the text names it and says why, and never quotes what may be a name."""

    def __init__(self, keyword: str, fault: str = "holds a value that makes no sense") -> None:
        super().__init__(f"{keyword} {fault}")
        self.keyword = keyword


@cache
def _tag(keyword: str) -> pydicom.tag.BaseTag:
    return pydicom.tag.Tag(keyword)


class FrameHeader:
    """The header of one frame as a single-frame object would have it: its functional groups, then the shared ones, then the root."""

    def __init__(self, dataset: pydicom.Dataset, frame: int) -> None:
        each = dataset.get("PerFrameFunctionalGroupsSequence") or []
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        groups = (group.get(keyword) for group in (*each[frame : frame + 1], *shared[:1]) for keyword in _FUNCTIONAL_GROUPS)
        items = [group[0] for group in groups if group]
        inside = [item[_INSIDE_A_GROUP].value for item in items if _INSIDE_A_GROUP in item]
        self._layers = [*items, *(sequence[0] for sequence in inside if sequence), dataset]

    def get(self, keyword: str) -> Any:
        """The value of an element, None if it is absent."""
        tag = _tag(keyword)
        try:
            return next((layer[tag].value for layer in self._layers if tag in layer), None)
        except Exception:  # pydicom quotes the value in what it raises
            raise MalformedHeader(keyword) from None


def numbers(header: FrameHeader, keyword: str, count: int = 1) -> tuple[float, ...] | None:
    """The first `count` numbers of an element, None if it is absent or empty. Raises MalformedHeader for anything else."""
    value = header.get(keyword)
    if value is None or value == "" or value == []:
        return None
    try:
        found = tuple(float(number) for number in (value if _several(value) else [value])[:count])
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) < count or not all(map(isfinite, found)):
        raise MalformedHeader(keyword)
    return found


def text(header: FrameHeader, *keywords: str) -> str:
    """The first of the elements that has a value, as text; several values are joined by a backslash, as in the file."""
    for keyword in keywords:
        value = header.get(keyword)
        if value is not None and value != "":
            return "\\".join(map(str, value)) if _several(value) else str(value).strip()
    return ""


def uid(header: FrameHeader, keyword: str) -> str:
    """A unique identifier, safe to show. In a damaged header it may hold whatever follows it; then it is a digest, which is as unique."""
    found = text(header, keyword)
    return found if _UID.fullmatch(found) else f"invalid-{sha256(found.encode(errors='replace')).hexdigest()[:12]}"


def word(header: FrameHeader, keyword: str) -> str:
    """A short text, safe to show: empty where damage has made it something else than a short text."""
    found = text(header, keyword)
    return found if len(found) <= _LONGEST_WORD and found.isprintable() and "^" not in found else ""  # ^ separates the parts of a name


def _several(value: object) -> bool:
    return isinstance(value, pydicom.multival.MultiValue | list | tuple)
