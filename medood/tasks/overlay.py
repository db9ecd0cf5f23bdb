"""Scenes for 3D Slicer and pictures, from the maps of a scoring and the images they belong to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.check import nearest
from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.geometry import Geometry
from medood.core.map_scale import MapScale
from medood.core.volume import Entry, Problem, Source, Volume
from medood.data.attempt import attempt
from medood.data.opening import open_source
from medood.export.colours import Window
from medood.export.maps import read_map
from medood.export.pictures import write_montage_png, write_overlay_png
from medood.export.scene import write_bundle

_SAME_PLACE = 1e-4  # mm, of a step and of the origin; the float32 of NIfTI stays below it


@dataclass(frozen=True)
class _Job:
    """One entry to show: its map, and the name of the files to make."""

    entry: Entry
    map: Path
    name: str


def overlay(maps: Path, out: Path, *, images: Path | None = None, only: Sequence[str] = ()) -> list[Path]:
    """Write NAME.mrb, a scene for 3D Slicer, and NAME.png for every map in the folder `maps`; returns the files written.

    `images` is the folder of the images if it is no longer where it was scored; `only` chooses ids. Raises MedoodError, before any image
    is decoded, when `maps` is no folder of maps, or when images, maps or ids are not there; when an image is not on its map's grid; and
    when not one image can be read.
    """
    console = Console()
    header = _read_header(maps)
    scale = MapScale(**header["scale"])
    lines = _read_lines(maps)
    names = _file_names([line["id"] for line in lines])
    source, root = _open(header["source"], images)
    jobs = _jobs(maps, _chosen(lines, only), source, root, names)
    written: list[Path] = []
    labelled = 0
    for job in console.track(jobs, "Writing scenes", len(jobs)):
        volume = attempt(source.read, job.entry)
        if isinstance(volume, Problem):
            console.warn(f"Left out: {volume.path}: {volume.message}")
            continue
        written += _write(job, volume, scale, out)
        labelled += "burned_in" in (*job.entry.issues, *volume.issues)
    if jobs and not written:
        raise MedoodError(f"{root}: not one of the {len(jobs)} images with maps can be read; the reasons are above.")
    if labelled:
        console.warn(
            f"{labelled} of the images may have text in their pixels, such as a name; so may the scenes and pictures made of them."
        )
    return written


def _read_header(maps: Path) -> dict[str, Any]:
    path = maps / "maps.json"
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MedoodError(f"{maps} is not a folder of maps: it has no maps.json. Make one with `medood score --maps`.") from error
    except ValueError as error:
        raise MedoodError(f"{path} is damaged: make the maps again with `medood score --maps`.") from error
    damaged = MedoodError(f"{path} is damaged: make the maps again with `medood score --maps`.")
    if not isinstance(header, dict):
        raise damaged
    if header.get("version") != 1:
        raise MedoodError(f"{path} is of version {header.get('version')}, this medood reads version 1: make the maps again.")
    if not {"run", "scale"} <= header.keys():
        raise damaged
    if header["scale"] is None:
        raise MedoodError(f"The run {header['run']} has no maps: its method gives scores only.")
    if not isinstance(header.get("source"), dict):
        raise damaged
    return header


def _read_lines(maps: Path) -> list[dict[str, Any]]:
    """The entries of the folder. A last line that was cut off while it was written is left out."""
    path = maps / "maps.jsonl"
    if not path.is_file():
        raise MedoodError(f"{maps} has no maps.jsonl: no image was scored into it.")
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        if all(Path(line["map"]).name == line["map"] and isinstance(line["id"], str) for line in lines):
            return lines
        raise ValueError("not written by medood")
    except (ValueError, TypeError, KeyError) as error:
        raise MedoodError(f"{path} is damaged: make the maps again with `medood score --maps`.") from error


def _file_names(ids: Sequence[str]) -> dict[str, str]:
    """A file name for every id, fit for every file system; ids that would share one get numbers. The same whatever `only` says."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for identifier in ids:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", identifier).strip("._")[-80:] or "image"
        name, number = plain, 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.lower())
        names[identifier] = name
    return names


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


def _jobs(maps: Path, lines: Sequence[dict[str, Any]], source: Source, root: Path, names: dict[str, str]) -> list[_Job]:
    entries = {entry.id: entry for entry in source.index().entries}
    gone = [line["id"] for line in lines if line["id"] not in entries]
    if gone:
        raise MedoodError(f"{len(gone)} of {len(lines)} images with maps are not in {root} any more, the first is {gone[0]!r}.")
    lost = [line["map"] for line in lines if not (maps / line["map"]).is_file()]
    if lost:
        raise MedoodError(f"{len(lost)} of {len(lines)} maps are missing in {maps}, the first is {lost[0]}: make the maps again.")
    return [_Job(entries[line["id"]], maps / line["map"], names[line["id"]]) for line in lines]


def _write(job: _Job, volume: Volume, scale: MapScale, out: Path) -> list[Path]:
    array, geometry = read_map(job.map)
    _check_grid(job, volume.geometry, geometry)
    scene, picture = out / f"{job.name}.mrb", out / f"{job.name}.png"
    window = _ct_window(volume)
    write_bundle(scene, volume.image, array, volume.geometry, scale, job.entry.id, window)
    if volume.geometry.in_patient or len(array) > 1:
        write_montage_png(picture, volume.image, array, volume.geometry, scale, window)
    else:
        write_overlay_png(picture, volume.image, array, scale, window)
    return [scene, picture]


def _check_grid(job: _Job, image: Geometry, array: Geometry) -> None:
    if image.shape != array.shape or not np.allclose(image.affine, array.affine, rtol=0, atol=_SAME_PLACE):
        raise MedoodError(
            f"{job.entry.id}: the image of (slices, rows, columns) {image.shape} is not on the grid of its map, {array.shape}: "
            "it has changed since it was scored. Score it again."
        )


def _ct_window(volume: Volume) -> Window | None:
    """The window that the scanner's user chose, for CT: percentiles of its values are ruled by air and metal. None leaves it to them."""
    if volume.entry.origin.modality != "CT" or not volume.voi or volume.voi[0].width <= 1:
        return None
    centre, reach = volume.voi[0].centre - 0.5, (volume.voi[0].width - 1) / 2  # PS3.3 C.11.2.1.2.1
    return centre - reach, centre + reach
