"""Whether there is anything in a folder to work on, and which of its problems matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from medood.core.errors import MedoodError
from medood.core.volume import Index, Problem

HARMLESS = (
    "mask_file",
    "not_an_image",
    "archive",
    "dead_link",
    "dicomdir",
    "own_object",
    "localizer_excluded",
    "duplicate_sop_instance",
    "duplicate",
    "not_listed",
    "incomplete",
)
"""Problems of files that nobody would want a score or a label for; they do not make the exit status 3."""

_WORDS = {
    "archive": "archives, which have to be unpacked first",
    "compressed": "compressed files, which have to be unpacked first",
    "mask_file": "masks by their name or content",
    "not_an_image": "files of other kinds",
    "dead_link": "links to nothing",
    "own_object": "objects that medood made itself",
}


def is_harmless(problem: Problem) -> bool:
    return problem.code.partition(":")[0] in HARMLESS


def check_found(index: Index) -> None:
    """Raises MedoodError that says what there is instead when a folder holds nothing that could ever be read."""
    if index.entries or not all(is_harmless(problem) or problem.code == "compressed" for problem in index.problems):
        return
    raise MedoodError(f"{index.root}: found no image. Expected DICOM, NIfTI, PNG, JPEG or TIFF; found {said(index.problems)}.")


def said(problems: Iterable[Problem]) -> str:
    """What kinds of problems there are, and how many of each."""
    counts = Counter(problem.code.partition(":")[0] for problem in problems)
    return ", ".join(f"{number} {_WORDS.get(code, code)}" for code, number in counts.most_common()) or "no file at all"
