"""Scenes for 3D Slicer and pictures, from the maps of a scoring and the images they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.console import Console
from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry
from medood.core.map_scale import MapScale
from medood.core.volume import Entry, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.data.opening import open_source
from medood.export.colours import own_window
from medood.export.map_list import Line, examined, read_array, read_header, read_lines
from medood.export.pictures import write_picture
from medood.export.scene import write_bundle
from medood.export.verdict import Verdict
from medood.recipe.check import nearest

_SAME_PLACE = 1e-4  # mm, of a step and of the origin; the float32 of NIfTI stays below it


@dataclass(frozen=True)
class _Job:
    """One entry to show, and what the list of maps says of it."""

    entry: Entry
    line: Line


def overlay(maps: Path, out: Path, *, images: Path | None = None, only: Sequence[str] = ()) -> list[Path]:
    """Write NAME.mrb, a scene for 3D Slicer, and NAME_overlay.png for every map in the folder `maps`; returns the files written.

    `images` is the folder of the images if it is no longer where it was scored; `only` chooses ids. Raises MedoodError, before any image
    is decoded, when `maps` is no folder of maps, or when images, maps or ids are not there; and when not one image can be shown. An image
    that cannot be read, or that has changed since it was scored, is named and left out.
    """
    console = Console()
    header = read_header(maps)
    scale = MapScale(**header["scale"])
    lines = read_lines(maps)
    source, root = _open(header["source"], images)
    jobs = _jobs(maps, _chosen(lines, only), source, root)
    written: list[Path] = []
    labelled = failed = 0
    for job in console.track(jobs, "Writing scenes", len(jobs)):
        made = _attempt_show(job, source, maps, scale, out)
        if isinstance(made, Problem):
            console.warn(f"Left out: {made.path}: {made.message}")
            failed += 1
            continue
        written += made[0]
        labelled += made[1]
    if failed and failed == len(jobs):
        raise MedoodError(f"{root}: not one of the {failed} images with maps can be shown; the reasons are above.")
    if labelled:
        console.warn(
            f"{labelled} of the images may have text in their pixels, such as a name; so may the scenes and pictures made of them."
        )
    return written


def _open(place: dict[str, Any], images: Path | None) -> tuple[Source, Path]:
    root = images or Path(place["root"])
    if not root.is_dir():
        hint = "name the right one with --images" if images else "say where they are now with --images FOLDER"
        raise MedoodError(f"There is no folder {root} with the images of these maps: {hint}.")
    return open_source(place["name"], root, **place["parameters"]), root


def _chosen(lines: Sequence[dict[str, Any]], only: Sequence[str]) -> list[dict[str, Any]]:
    known = [line["id"] for line in lines]
    for identifier in only:
        if identifier not in known:
            raise MedoodError(f"There is no map of {identifier!r}{nearest(identifier, known)}. maps.jsonl lists all {len(known)}.")
    return [line for line in lines if not only or line["id"] in only]


def _jobs(maps: Path, lines: Sequence[dict[str, Any]], source: Source, root: Path) -> list[_Job]:
    entries = {entry.id: entry for entry in source.index().entries}
    gone = [line["id"] for line in lines if line["id"] not in entries]
    if gone:
        raise MedoodError(f"{len(gone)} of {len(lines)} images with maps are not in {root} any more, the first is {gone[0]!r}.")
    lost = [line["map"] for line in lines if not (maps / line["map"]).is_file()]
    if lost:
        raise MedoodError(f"{len(lost)} of {len(lines)} maps are missing in {maps}, the first is {lost[0]}: make the maps again.")
    return [_Job(entries[line["id"]], line) for line in lines]


def _attempt_show(job: _Job, source: Source, maps: Path, scale: MapScale, out: Path) -> tuple[list[Path], bool] | Problem:
    return attempt(lambda _: _show(job, source, maps, scale, out), job.entry)


def _show(job: _Job, source: Source, maps: Path, scale: MapScale, out: Path) -> tuple[list[Path], bool]:
    """The files of one entry, and whether they may show text in the pixels."""
    volume = source.read(job.entry)
    array, geometry = read_array(maps, job.line)
    _check_grid(job, volume, geometry)
    seen = examined(job.line, array.shape)
    scene, picture = out / f"{job.line['name']}.mrb", out / f"{job.line['name']}_overlay.png"
    write_bundle(scene, volume.image, array, volume.geometry, scale, job.entry.id, own_window(volume), ~seen)
    write_picture(picture, volume, array, scale, Verdict.of_line(job.line), seen, job.line["axis"])
    return [scene, picture], "burned_in" in (*job.entry.issues, *volume.issues)


def _check_grid(job: _Job, volume: Volume, array: Geometry) -> None:
    image = volume.geometry
    if image.shape != array.shape or not np.allclose(image.affine, array.affine, rtol=0, atol=_SAME_PLACE):
        raise InputError(
            f"{job.entry.id}: the image of (slices, rows, columns) {image.shape} is not on the grid of its map, {array.shape}: "
            "it has changed since it was scored. Score it again.",
            "changed",
        )
