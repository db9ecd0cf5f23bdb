"""What the held-out images share with the training images and should not: patients and pictures. Sentences for the user."""

from __future__ import annotations

from filecmp import cmp

from medood.core.volume import Entry
from medood.data.cache import CachedImages
from medood.data.patients import patients_in_names, some


def leaks(train: CachedImages, held_out: CachedImages) -> list[str]:
    """Warnings: patients that nobody named and who may be in both parts, and held-out images that are copies of training images."""
    entries = [each.entry for images in (train, held_out) for each in images.entries]
    return [*patients_in_names(entries), *_copies(train, held_out)]


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
            found.append(f"{len(copies)} {how}: {some([f'{copy} of {originals[copy]}' for copy in sorted(copies)])}")
    return [
        f"{len(originals)} of the {len(held_out.entries)} held-out series or images are copies of training images, {'; '.join(found)}. A "
        "threshold that rests on them calls too many new images anomalous: take the copies away, or give an image and its copies one "
        "`group` in a table."
    ]


def _same_files(copy: Entry, original: Entry) -> bool:
    if len(copy.files) != len(original.files):
        return False
    return all(cmp(one, other, shallow=False) for one, other in zip(copy.files, original.files, strict=True))
