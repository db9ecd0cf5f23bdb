"""What was found as DICOM objects, from the maps of a scoring and the images they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.volume import Problem
from medood.data.attempt import attempt
from medood.dicom_objects.finding import Finding, Heat
from medood.dicom_objects.kinds import KINDS
from medood.dicom_objects.object_folder import ObjectFolder
from medood.recipe.check import nearest
from medood.scoring.mapped_images import Mapped, MappedImages


@dataclass
class Written:
    """How many series and images got objects, and how many got none at all; `left_out` counts single objects by kind and reason."""

    entries: int = 0
    failed: int = 0
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)


def dicom(maps: Path, out: Path, *, images: Path | None = None, only: Sequence[str] = (), kinds: Sequence[str] = ()) -> Written:
    """Write the DICOM objects of every map in the folder `maps` into `out`, those of `kinds` or all.

    `images` is the folder of the images if it is no longer where it was scored; `only` chooses ids. An image that nothing can be made of
    is named and left out. Raises MedoodError, before any image is decoded, when maps, images, ids or kinds are not there, and when nothing
    at all could be made.
    """
    console, written = Console(), Written()
    wanted = check_kinds(kinds)
    mapped = MappedImages(maps, images=images, only=only)
    _ = mapped.scored_by  # before anything is written
    folder = ObjectFolder(out, kinds=wanted)
    for job in console.track(mapped.found, "Writing objects", len(mapped.found)):
        left_out = _attempt_write(job, mapped, folder)
        if isinstance(left_out, Problem):
            console.warn(f"Left out: {left_out.path}: {left_out.message}")
            written.failed += 1
            continue
        written.entries += 1
        written.left_out.update(left_out.items())
    for (kind, reason), count in written.left_out.items():
        console.say(f"No {kind.replace('_', ' ')} of {count} series or images: {reason}.")
    if written.failed and not written.entries:
        raise MedoodError(f"{mapped.root}: there are no DICOM objects of any of the {written.failed} images; the reasons are above.")
    return written


def check_kinds(kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds to write. Raises MedoodError for one that there is not."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise MedoodError(f"--kinds takes {', '.join(KINDS)}; found {unknown[0]!r}{nearest(unknown[0], KINDS)}.")
    return tuple(kind for kind in KINDS if not kinds or kind in kinds)


def _attempt_write(job: Mapped, mapped: MappedImages, folder: ObjectFolder) -> dict[str, str] | Problem:
    return attempt(lambda _: folder.add(_finding(job, mapped)), job.entry)


def _finding(job: Mapped, mapped: MappedImages) -> Finding:
    shown = mapped.read(job)
    return Finding(shown.volume, job.verdict, mapped.scored_by, Heat(shown.array, shown.seen, int(job.line["axis"]), mapped.scale))
