"""A folder of maps together with the images that they are of: what everything is made of that is made after a scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry
from medood.core.map_scale import MapScale
from medood.core.volume import Entry, Source, Volume
from medood.data.opening import open_source
from medood.dicom_objects.scored_by import ScoredBy
from medood.export.map_list import Line, examined, read_array, read_header, read_lines
from medood.export.verdict import Verdict
from medood.recipe.check import nearest

_SAME_PLACE = 1e-4  # mm, of a step and of the origin; the float32 of NIfTI stays below it


@dataclass(frozen=True)
class Mapped:
    """An entry, what the list of maps says of it, and why it cannot be read, if it is not what was scored."""

    entry: Entry
    line: Line
    problem: str = ""

    @property
    def verdict(self) -> Verdict:
        return Verdict.of_line(self.line)


@dataclass(frozen=True, eq=False)
class Shown:
    """A volume, its map float32 (slices, rows, columns), and bool of what was examined."""

    volume: Volume
    array: np.ndarray
    seen: np.ndarray


class MappedImages:
    """The maps in the folder `maps` and their images, in `images` if they are no longer where they were scored; `only` chooses ids.

    Raises MedoodError, before any image is decoded, when it is no folder of maps, or when images, maps or ids are not there.
    """

    def __init__(self, maps: Path, *, images: Path | None = None, only: Sequence[str] = ()) -> None:
        self.maps = maps
        self.header = read_header(maps)
        self.scale = MapScale(**self.header["scale"])
        lines = _chosen(read_lines(maps), only)
        self.source, self.root = _open(self.header["source"], images)
        self.found = _found(maps, lines, self.source, self.root)

    @cached_property
    def scored_by(self) -> ScoredBy:
        """Raises MedoodError for maps of a medood that did not say so yet."""
        try:
            return ScoredBy.of_dict(self.header["scored_by"])
        except (KeyError, TypeError) as error:
            raise MedoodError(f"{self.maps} does not say how its run decides: make the maps again with `medood score --maps`.") from error

    def read(self, mapped: Mapped) -> Shown:
        """Raises InputError when the image cannot be read, or is not the one that was scored."""
        if mapped.problem:
            raise InputError(f"{mapped.entry.id}: {mapped.problem}", "changed")
        volume = self.source.read(mapped.entry)
        array, geometry = read_array(self.maps, mapped.line)
        _check_grid(mapped, volume, geometry)
        return Shown(volume, array, examined(mapped.line, array.shape))


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


def _found(maps: Path, lines: Sequence[dict[str, Any]], source: Source, root: Path) -> list[Mapped]:
    entries = {entry.id: entry for entry in source.index().entries}
    gone = [line["id"] for line in lines if line["id"] not in entries]
    if gone and len(gone) == len(lines):
        raise MedoodError(
            f"None of the {len(lines)} images with maps are in {root} any more, the first is {gone[0]!r}: say where they are with --images "
            "FOLDER, or score them again."
        )
    lost = [line["map"] for line in lines if not (maps / line["map"]).is_file()]
    if lost:
        raise MedoodError(f"{len(lost)} of {len(lines)} maps are missing in {maps}, the first is {lost[0]}: make the maps again.")
    return [_mapped(line, entries.get(line["id"]), root) for line in lines]


def _mapped(line: Line, entry: Entry | None, root: Path) -> Mapped:
    """Ids are places: another image may lie there now, as series of one folder are numbered anew when one comes or goes."""
    if entry is None:
        return Mapped(Entry(line["id"], (), ""), line, f"it is not in {root} any more. Put it back, or score again.")
    before, now = line.get("mark"), entry.mark
    if before and now and before != now:
        return Mapped(entry, line, "another image is there now than the one that was scored. Score again.")
    return Mapped(entry, line)


def _check_grid(mapped: Mapped, volume: Volume, array: Geometry) -> None:
    image = volume.geometry
    if image.shape != array.shape or not np.allclose(image.affine, array.affine, rtol=0, atol=_SAME_PLACE):
        raise InputError(
            f"{mapped.entry.id}: the image of (slices, rows, columns) {image.shape} is not on the grid of its map, {array.shape}: "
            "it has changed since it was scored. Score it again.",
            "changed",
        )
