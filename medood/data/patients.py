"""Patients that nobody named: files that count as one patient each, and what their names say of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from medood.core.volume import Entry

EACH_ITS_OWN = "Each image counts as one patient, by its file name; if a patient has several, a table with a column `group` must say so."

_NAMED = 3  # examples in a sentence


def unnamed(entries: Sequence[Entry]) -> bool:
    """Whether each file counts as a patient of its own, because a table says so or because nothing says whose it is."""
    return len(entries) > 1 and all(map(_by_itself, entries))


def patients_in_names(entries: Sequence[Entry]) -> list[str]:
    """A sentence where files count as patients of their own although their names look like several of one patient."""
    alone = [entry.id for entry in entries if _by_itself(entry)]
    stems = Counter(filter(None, map(_stem, alone)))
    shared = {stem: count for stem, count in stems.items() if count > 1}
    if len(shared) < 2:  # one stem for all is the name of the collection
        return []
    files = sum(shared.values())
    return [
        f"{len(alone)} images count as one patient each, for nothing says whose they are, but {files} of them share the beginning of their "
        f"names ({some([f'{stem}: {count}' for stem, count in shared.items()])}). If it stands for the patient, one patient comes into "
        "training, held-out and test images, and every number is too good: name the patients in a table with a column `group`."
    ]


def some(texts: Sequence[str]) -> str:
    """The first of a list, and how many more there are."""
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _by_itself(entry: Entry) -> bool:
    return entry.slices == 1 and entry.group in (entry.id, PurePosixPath(entry.id).stem)


def _stem(name: str) -> str:
    """What is left of a path without the number at its end, if a number is left that may be the patient's: else nothing."""
    path = PurePosixPath(name)
    stem = re.sub(r"[-_. ]+[A-Za-z]*[-_. ]*\d+$", "", path.name.removesuffix(path.suffix))
    return str(path.with_name(stem)) if stem != path.stem and re.search(r"\d", stem) else ""
