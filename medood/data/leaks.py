"""What the held-out images share with the training images and should not: patients and pictures. Sentences for the user."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from filecmp import cmp
from pathlib import PurePosixPath

from medood.core.volume import Entry
from medood.data.cache import CachedImages

_NAMED = 3  # examples in a sentence


def leaks(train: CachedImages, held_out: CachedImages) -> list[str]:
    """Warnings: patients that nobody named and who may be in both parts, and held-out images that are copies of training images."""
    entries = [each.entry for images in (train, held_out) for each in images.entries]
    return [*_unnamed_patients(entries), *_copies(train, held_out)]


def unnamed(images: CachedImages) -> bool:
    """Whether nothing says whose the images are, so that each file counts as a patient of its own."""
    return all(_by_itself(each.entry) for each in images.entries)


def _by_itself(entry: Entry) -> bool:
    return entry.slices == 1 and entry.group in (entry.id, PurePosixPath(entry.id).stem)


def _unnamed_patients(entries: Sequence[Entry]) -> list[str]:
    """A sentence where files count as patients of their own although their names look like several of one patient."""
    alone = [entry.id for entry in entries if _by_itself(entry)]
    stems = Counter(filter(None, map(_stem, alone)))
    shared = {stem: count for stem, count in stems.items() if count > 1}
    if len(shared) < 2:  # one stem for all is the name of the collection
        return []
    files = sum(shared.values())
    return [
        f"{len(alone)} images count as one patient each, for nothing says whose they are, but {files} of them share the beginning of their "
        f"names ({_some([f'{stem}: {count}' for stem, count in shared.items()])}). If it stands for the patient, the same patients are "
        "trained on and held out, and every number that follows is too good: name the patients in a table with a column `group`."
    ]


def _stem(name: str) -> str:
    """What is left of a path without the number at its end, if a number is left that may be the patient's: else nothing."""
    path = PurePosixPath(name)
    stem = re.sub(r"[-_. ]+[A-Za-z]*[-_. ]*\d+$", "", path.name.removesuffix(path.suffix))
    return str(path.with_name(stem)) if stem != path.stem and re.search(r"\d", stem) else ""


def _copies(train: CachedImages, held_out: CachedImages) -> list[str]:
    """A sentence that names held-out entries that are copies of training entries."""
    originals = train.hashed().originals(held_out.hashed())
    if not originals:
        return []
    by_id = {each.entry.id: each.entry for images in (train, held_out) for each in images.entries}
    exact = [copy for copy, original in originals.items() if _same_files(by_id[copy], by_id[original])]
    near = [copy for copy in originals if copy not in exact]
    found = []
    for copies, how in ((exact, "byte for byte"), (near, "nearly (saved again, resized or brightened, or neighbours of 1 mm)")):
        if copies:
            found.append(f"{len(copies)} {how}: {_some([f'{copy} of {originals[copy]}' for copy in sorted(copies)])}")
    return [
        f"{len(originals)} of the {len(held_out.entries)} held-out series or images are copies of training images, {'; '.join(found)}. A "
        "threshold that rests on them calls too many new images anomalous: take the copies away, or give an image and its copies one "
        "`group` in a table."
    ]


def _same_files(copy: Entry, original: Entry) -> bool:
    if len(copy.files) != len(original.files):
        return False
    return all(cmp(one, other, shallow=False) for one, other in zip(copy.files, original.files, strict=True))


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more} more" if more > 0 else "")
