"""The folder that `medood score --maps` fills: maps on the native grid of their images, and a list of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.files import append, write_json
from medood.core.geometry import Geometry
from medood.core.map_scale import MapScale
from medood.core.run import Run
from medood.core.volume import Volume
from medood.export.maps import coarse_geometry, is_sheared, write_map
from medood.export.pictures import write_overlay_png, write_png16
from medood.scoring.inference import Scored
from medood.transforms.pipeline import Prepared

SHEARED = "sheared_map_as_nrrd"
"""Issue code of a map that is NRRD although NIfTI was asked for, because NIfTI cannot hold its grid."""


class MapFolder:
    """maps.json says which run and which colour scale; maps.jsonl has a line per entry.

    id      of the entry;  name  of its files
    map     file of the map on the native grid;  plain  of the prepared intensity on it;  patches  of the patch scores, or null
    raw, picture  of a photograph or radiograph: its map as 16-bit PNG (mapped by `raw_scale` of maps.json), and coloured over the image
    axis    of the array along which the volume was cut;  slices  indices along it that were scored
    """

    def __init__(self, folder: Path, run: Run, source: dict[str, Any], resume: bool, suffix: str = ".nrrd") -> None:
        self.folder, self.suffix = folder, suffix
        values = run.calibration["image"]["map_scale"]
        self.scale = MapScale(**values) if values else None
        self.raw = MapScale(min(0.0, self.scale.low), 4 * self.scale.high, 0.0) if self.scale else None  # room above what normals reach
        raw = {"low": self.raw.low, "high": self.raw.high} if self.raw else None
        header = {"version": 1, "run": run.name, "source": source, "scale": values, "raw_scale": raw}
        write_json(folder / "maps.json", header)
        self._list = folder / "maps.jsonl"
        self._names = {line["id"]: line["name"] for line in self._lines()} if resume else {}
        if not resume:
            self._list.unlink(missing_ok=True)

    def add(self, volume: Volume, prepared: Prepared, scored: Scored) -> tuple[str, ...]:
        """Write an entry's maps, and return codes of what is odd about them; nothing for a detector without maps."""
        if scored.map is None or self.scale is None:
            return ()
        name = self._names.get(volume.entry.id, f"{len(self._names) + 1:06d}")
        native = prepared.way.restore(scored.map, prepared.slices)
        plain = prepared.way.restore(prepared.images.mean(1), prepared.slices)
        files = {
            "map": self._write(name, native, volume.geometry),
            "plain": self._write(f"{name}_plain", plain, volume.geometry),
            "patches": self._write_patches(name, volume, prepared, scored.patches),
            **self._write_pictures(name, volume, native),
        }
        axis = prepared.way.orientation.axes[0]
        self._append({"id": volume.entry.id, "name": name, **files, "axis": axis, "slices": prepared.slices.tolist()})
        self._names[volume.entry.id] = name
        return (SHEARED,) if self._suffix(volume.geometry) != self.suffix else ()

    def _suffix(self, geometry: Geometry) -> str:
        """A sheared volume (gantry tilt) is written as NRRD whatever was asked for: NIfTI readers would straighten it."""
        return ".nrrd" if self.suffix != ".nrrd" and is_sheared(geometry) else self.suffix

    def _write(self, name: str, array: np.ndarray, geometry: Geometry) -> str:
        """The file name."""
        suffix = self._suffix(geometry)
        write_map(self.folder / f"{name}{suffix}", array, geometry)
        return f"{name}{suffix}"

    def _write_pictures(self, name: str, volume: Volume, native: np.ndarray) -> dict[str, str | None]:
        if volume.geometry.in_patient or len(native) > 1 or self.scale is None or self.raw is None:
            return {"raw": None, "picture": None}
        write_png16(self.folder / f"{name}_raw.png", native, self.raw)
        write_overlay_png(self.folder / f"{name}.png", volume.image, native, self.scale)
        return {"raw": f"{name}_raw.png", "picture": f"{name}.png"}

    def _write_patches(self, name: str, volume: Volume, prepared: Prepared, patches: np.ndarray | None) -> str | None:
        """Patch scores on their own grid. They cover the images' field of view, which may be larger or smaller than the native one."""
        if patches is None or prepared.way.orientation.axes[0] != 0:
            return None
        way = prepared.way
        turned = way.orientation.turn(volume.geometry)
        region = way.placement.region_geometry(turned)
        stack = np.zeros((turned.shape[0], *patches.shape[1:]), np.float32)
        stack[turned.shape[0] - 1 - prepared.slices if way.orientation.flips[0] else prepared.slices] = patches
        return self._write(f"{name}_patches", stack, coarse_geometry(region, (patches.shape[1], patches.shape[2])))

    def _append(self, line: dict[str, Any]) -> None:
        with self._list.open("ab", buffering=0) as file:
            append(file, (json.dumps(line) + "\n").encode("utf-8"))
            os.fsync(file.fileno())  # before the rows that say the entry is complete

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines; what a crash left of a last one is dropped."""
        if not self._list.is_file():
            return []
        content = self._list.read_bytes()
        content = content[: content.rfind(b"\n") + 1]
        self._list.write_bytes(content)
        return [json.loads(line) for line in content.decode("utf-8").splitlines()]
