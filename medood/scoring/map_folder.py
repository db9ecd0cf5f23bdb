"""The folder that `medood score --maps` fills: maps on the native grid of their images, and a list of them."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.errors import MedoodError
from medood.core.files.atomic import append, write_json
from medood.core.map_scale import MapScale
from medood.core.volume import Volume
from medood.export.map_files import MapFiles, MapFormat
from medood.export.map_list import FILES, HEADER, LIST, VERSION, examined, read_lines
from medood.export.names import FileNames
from medood.export.pictures import write_picture
from medood.export.verdict import Verdict
from medood.recipe.run import Run
from medood.scoring.inference import Scored
from medood.scoring.scored_by import scored_by
from medood.transforms.pipeline import Prepared

EXTRAS = ("plain", "patches", "picture")
"""What may be written beside a map: the prepared intensity, the patch scores, the map in colours over the image."""

SHEARED = "sheared_map_as_nrrd"
"""Issue code of a map that is NRRD although NIfTI was asked for, because NIfTI cannot hold its grid."""

_ROOM = 4  # how far the stored range of a PNG reaches, in the scale's highest value: beyond what normal images reach


class MapWriter:
    """Writes the files of a map; it is listed elsewhere, for many processes may write maps and one alone lists them."""

    def __init__(self, folder: Path, run: Run, form: MapFormat = "auto", extras: Collection[str] = ()) -> None:
        self.folder, self.form, self.extras = folder, form, extras
        values = run.calibration["image"]["map_scale"]
        self.scale = MapScale(**values) if values else None
        low, high = run.recipe.transforms.range
        self.outside = outside(self.scale)
        self.ranges = {"plain": (min(0.0, low), high), "map": (self.outside, _ROOM * self.scale.high if self.scale else 1.0)}

    def write(
        self, name: str, volume: Volume, prepared: Prepared, scored: Scored, rows: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
        """Write the map of an entry whose rows of scores.csv are `rows`; returns its line of the list, and codes of what is odd about it.

        No line for a detector without maps. Raises MedoodError when the folder cannot be written, InputError when there can be no map.
        """
        if scored.map is None or self.scale is None:
            return None, ()
        files, verdict, way = MapFiles(self.folder, name, volume.geometry, self.form), Verdict.of_rows(rows), prepared.way
        known = {"id": volume.entry.id, "name": name, "mark": volume.entry.mark}
        line: dict[str, Any] = {**known, **dict.fromkeys(FILES)} | place_of(prepared)
        array, seen = native_map(scored, prepared, self.outside)
        line["map"] = files.write("map", array, self.ranges["map"])
        if not (seen.all() or files.as_png):
            line["not_examined"] = files.write_mask("not_examined", ~seen)
        if "plain" in self.extras:
            line["plain"] = files.write("plain", way.restore(prepared.images.mean(1), prepared.slices), self.ranges["plain"])
        if "patches" in self.extras:
            line["patches"] = files.write_patches(prepared, scored.patches)
        if "picture" in self.extras:
            line["picture"] = f"{name}_picture.png"
            write_picture(self.folder / line["picture"], volume, array, self.scale, verdict, seen, line["axis"])
        return line | files.meaning | verdict.to_dict(), (SHEARED,) if files.straightened else ()


class MapFolder:
    """A folder of maps, one file an entry unless `extras` are asked for, named after the entry; `map_list` describes it."""

    def __init__(
        self,
        folder: Path,
        run: Run,
        source: Mapping[str, Any],
        *,
        resume: bool = False,
        form: MapFormat = "auto",
        extras: Collection[str] = (),
    ) -> None:
        self.folder = folder
        self._writer = MapWriter(folder, run, form, extras)
        self._list = folder / LIST
        self._listed: dict[str, str] = self._continued() if resume else {}
        self._names = FileNames(self._listed.values())
        if not resume:
            self._clear()
        scale = run.calibration["image"]["map_scale"]
        stored = dict(zip(("low", "high"), self._writer.ranges["map"], strict=True))
        header = {"version": VERSION, "run": run.name, "scored_by": scored_by(run).to_dict(), "source": source, "scale": scale}
        write_json(folder / HEADER, header | {"stored": stored, "outside": self._writer.outside})

    def add(self, volume: Volume, prepared: Prepared, scored: Scored, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Write and list the map of an entry, as `MapWriter.write` does."""
        if scored.map is None:
            return ()
        line, codes = self._writer.write(self.name_of(volume.entry.id), volume, prepared, scored, rows)
        if line is not None:
            self.enter(line)
        return codes

    def name_of(self, identifier: str) -> str:
        """The name of an entry's files; nobody else gets it."""
        return self._listed.get(identifier) or self._names.give(identifier)

    def enter(self, line: Mapping[str, Any]) -> None:
        """Add what `MapWriter.write` says of a map to the list."""
        with self._list.open("ab", buffering=0) as file:
            append(file, (json.dumps(line) + "\n").encode("utf-8"))
            os.fsync(file.fileno())  # before the rows that say the entry is complete
        self._listed[line["id"]] = line["name"]

    def _continued(self) -> dict[str, str]:
        """Names by the ids of what is listed already; what a crash left of a last line is dropped."""
        if not self._list.is_file():
            return {}
        content = self._list.read_bytes()
        self._list.write_bytes(content[: content.rfind(b"\n") + 1])
        return {line["id"]: line["name"] for line in read_lines(self.folder)}

    def _clear(self) -> None:
        """Take away what an earlier scoring listed here, so that no map of it passes for one of this."""
        if self._list.is_file():
            with suppress(MedoodError):  # a damaged list: what it meant is not ours to guess
                for file in (line[kind] for line in read_lines(self.folder) for kind in FILES if line.get(kind)):
                    (self.folder / file).unlink(missing_ok=True)
        self._list.unlink(missing_ok=True)


def outside(scale: MapScale | None) -> float:
    """The value of a map where nothing was examined, and outside the body."""
    return min(0.0, scale.low) if scale else 0.0


def native_map(scored: Scored, prepared: Prepared, outside: float) -> tuple[np.ndarray, np.ndarray]:
    """The map of an entry that has one, float32 on the native grid, and bool of what was examined there.

    `outside` stands where nothing was examined, outside the body, whatever the network says of air, and where the map is not to be shown.
    """
    assert scored.map is not None
    way = prepared.way
    array, seen = way.restore(scored.map, prepared.slices), examined(place_of(prepared), way.native)
    if prepared.body is not None:
        array[~prepared.body] = outside
    if scored.shown is not None:
        array[way.restore(scored.shown.astype(np.float32), prepared.slices) < 0.5] = outside
    if outside:
        array[~seen] = outside
    return array, seen


def place_of(prepared: Prepared) -> dict[str, Any]:
    """What of the native grid was examined, as a line of maps.jsonl says it."""
    way = prepared.way
    return {"axis": way.orientation.axes[0], "slices": prepared.slices.tolist(), "box": [list(ends) for ends in way.box]}
