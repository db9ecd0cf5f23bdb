"""Scenes for 3D Slicer and pictures, from the maps of a scoring and the images they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.volume import Problem
from medood.data.attempt import attempt
from medood.export.colours import own_window
from medood.export.pictures import write_picture
from medood.export.scene import write_bundle
from medood.scoring.mapped_images import Mapped, MappedImages


def overlay(maps: Path, out: Path, *, images: Path | None = None, only: Sequence[str] = ()) -> list[Path]:
    """Write NAME.mrb, a scene for 3D Slicer, and NAME_overlay.png for every map in the folder `maps`; returns the files written.

    `images` is the folder of the images if it is no longer where it was scored; `only` chooses ids. Raises MedoodError, before any image
    is decoded, when `maps` is no folder of maps, or when images, maps or ids are not there; and when not one image can be shown. An image
    that cannot be read, or that has changed since it was scored, is named and left out.
    """
    console = Console()
    mapped = MappedImages(maps, images=images, only=only)
    written: list[Path] = []
    labelled = failed = 0
    for job in console.track(mapped.found, "Writing scenes", len(mapped.found)):
        made = _attempt_show(job, mapped, out)
        if isinstance(made, Problem):
            console.warn(f"Left out: {made.path}: {made.message}")
            failed += 1
            continue
        written += made[0]
        labelled += made[1]
    if failed and failed == len(mapped.found):
        raise MedoodError(f"{mapped.root}: not one of the {failed} images with maps can be shown; the reasons are above.")
    if labelled:
        console.warn(
            f"{labelled} of the images may have text in their pixels, such as a name; so may the scenes and pictures made of them."
        )
    return written


def _attempt_show(job: Mapped, mapped: MappedImages, out: Path) -> tuple[list[Path], bool] | Problem:
    return attempt(lambda _: _show(job, mapped, out), job.entry)


def _show(job: Mapped, mapped: MappedImages, out: Path) -> tuple[list[Path], bool]:
    """The files of one entry, and whether they may show text in the pixels."""
    shown = mapped.read(job)
    volume, array, scale = shown.volume, shown.array, mapped.scale
    scene, picture = out / f"{job.line['name']}.mrb", out / f"{job.line['name']}_overlay.png"
    banner = job.verdict.banner
    name = f"{banner}: {job.entry.id}" if banner else job.entry.id
    write_bundle(scene, volume.image, array, volume.geometry, scale, name, own_window(volume), ~shown.seen)
    write_picture(picture, volume, array, scale, job.verdict, shown.seen, job.line["axis"])
    return [scene, picture], "burned_in" in (*job.entry.issues, *volume.issues)
