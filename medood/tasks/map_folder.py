"""The folder that `medood score --maps` fills: maps on the native grid of their images, and a list of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.files import write_json
from medood.core.run import Run
from medood.core.volume import Volume
from medood.export.maps import coarse_geometry, write_map
from medood.tasks.inference import Scored
from medood.transforms.pipeline import Prepared


class MapFolder:
    """maps.json says which run and which colour scale; maps.jsonl has a line per entry.

    id      of the entry;  name  of its files
    map     file of the map on the native grid;  plain  of the prepared intensity on it;  patches  of the patch scores, or null
    axis    of the array along which the volume was cut;  slices  indices along it that were scored
    """

    def __init__(self, folder: Path, run: Run, source: dict[str, Any], resume: bool) -> None:
        self.folder = folder
        scale = run.calibration["image"]["map_scale"]
        write_json(folder / "maps.json", {"version": 1, "run": run.name, "source": source, "scale": scale})
        self._list = folder / "maps.jsonl"
        self._names = {line["id"]: line["name"] for line in self._lines()} if resume else {}
        if not resume:
            self._list.unlink(missing_ok=True)

    def add(self, volume: Volume, prepared: Prepared, scored: Scored) -> None:
        """Write an entry's map, patch map and prepared intensities; nothing for a detector without maps."""
        if scored.map is None:
            return
        name = self._names.get(volume.entry.id, f"{len(self._names) + 1:06d}")
        files = {"map": f"{name}.nrrd", "plain": f"{name}_plain.nrrd", "patches": None}
        write_map(self.folder / files["map"], prepared.way.restore(scored.map, prepared.slices), volume.geometry)
        plain = prepared.way.restore(prepared.images.mean(1), prepared.slices)
        write_map(self.folder / files["plain"], plain, volume.geometry)
        if scored.patches is not None and prepared.way.orientation.axes[0] == 0:
            files["patches"] = f"{name}_patches.nrrd"
            self._write_patches(self.folder / files["patches"], volume, prepared, scored.patches)
        axis = prepared.way.orientation.axes[0]
        self._append({"id": volume.entry.id, "name": name, **files, "axis": axis, "slices": prepared.slices.tolist()})
        self._names[volume.entry.id] = name

    def _write_patches(self, path: Path, volume: Volume, prepared: Prepared, patches: np.ndarray) -> None:
        """Patch scores on their own grid. They cover the images' field of view, which may be larger or smaller than the native one."""
        way = prepared.way
        turned = way.orientation.turn(volume.geometry)
        region = _region_geometry(turned, way.placement.native, way.placement.region)
        stack = np.zeros((turned.shape[0], *patches.shape[1:]), np.float32)
        stack[turned.shape[0] - 1 - prepared.slices if way.orientation.flips[0] else prepared.slices] = patches
        write_map(path, stack, coarse_geometry(region, (patches.shape[1], patches.shape[2])))

    def _append(self, line: dict[str, Any]) -> None:
        with self._list.open("ab", buffering=0) as file:
            file.write((json.dumps(line) + "\n").encode("utf-8"))
            os.fsync(file.fileno())

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines; what a crash left of a last one is dropped."""
        if not self._list.is_file():
            return []
        content = self._list.read_bytes()
        content = content[: content.rfind(b"\n") + 1]
        self._list.write_bytes(content)
        return [json.loads(line) for line in content.decode("utf-8").splitlines()]


def _region_geometry(geometry: Any, native: tuple[int, int], region: tuple[int, int]) -> Any:
    """The grid of (slices, *region) pixels around the centre of the native one, by the rule of `transforms.fit`."""
    from dataclasses import replace

    def start(larger: int, smaller: int) -> int:
        return (larger - smaller) // 2

    rows, columns = (start(n, r) if n >= r else -start(r, n) for n, r in zip(native, region, strict=True))
    shift = np.eye(4)
    shift[:2, 3] = columns, rows
    return replace(geometry, affine=geometry.affine @ shift, shape=(geometry.shape[0], *region))
