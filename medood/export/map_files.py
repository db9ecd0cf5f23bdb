"""The files of one entry in a folder of maps: how they are called, and in which format they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from medood.core.geometry import Geometry
from medood.export.maps import coarse_geometry, is_sheared, write_map, write_mask, write_png16
from medood.transforms.pipeline import Prepared

MapFormat = Literal["auto", "nrrd", "nii.gz"]
"""auto: single pictures as 16-bit PNG, all else as NRRD; nrrd, nii.gz: everything so, in float32."""

PNG_LEVELS = 4096  # of a map as PNG: at least four for every colour of the scale, and three quarters of the bytes that 65,536 take


class MapFiles:
    """Writes NAME_KIND.ENDING into `folder`.

    as_png        whether maps are 16-bit PNG: pictures are, that is one slice that does not lie in a patient
    straightened  whether NIfTI was asked for but would straighten the grid (gantry tilt), so that NRRD is written
    meaning       what a line of maps.jsonl says of maps that are PNG: their grid, and what 0 and 65535 mean
    """

    def __init__(self, folder: Path, name: str, geometry: Geometry, form: MapFormat) -> None:
        self.folder, self.name, self.geometry = folder, name, geometry
        self.as_png = form == "auto" and not geometry.in_patient and geometry.shape[0] == 1
        self.straightened = form == "nii.gz" and is_sheared(geometry)
        self._ending = "nii.gz" if form == "nii.gz" and not self.straightened else "nrrd"
        self._ranges: dict[str, tuple[float, float]] = {}

    @property
    def meaning(self) -> dict[str, Any]:
        if not self.as_png:
            return {}
        grid = {"affine": self.geometry.affine.ravel().tolist(), "spacing_known": self.geometry.spacing_known}
        return {"grid": grid, "ranges": {kind: list(ends) for kind, ends in self._ranges.items()}}

    def write(self, kind: str, array: np.ndarray, usual: tuple[float, float]) -> str:
        """A map on the native grid; returns the file's name. A PNG holds the `usual` range, or a wider one where values lie outside."""
        if not self.as_png:
            return self._write(kind, array, self.geometry)
        path = self.folder / f"{self.name}_{kind}.png"
        low, high = min(usual[0], float(array.min())), max(usual[1], float(array.max()))
        write_png16(path, array, low, high, levels=PNG_LEVELS if (low, high) == usual else 65536)
        self._ranges[kind] = low, high
        return path.name

    def write_mask(self, kind: str, mask: np.ndarray) -> str:
        path = self.folder / f"{self.name}_{kind}.{self._ending}"
        write_mask(path, mask, self.geometry)
        return path.name

    def write_patches(self, prepared: Prepared, patches: np.ndarray | None) -> str | None:
        """Patch scores on their own grid. They cover the images' field of view, which may be larger or smaller than the native one."""
        way = prepared.way
        if patches is None or way.orientation.axes[0] != 0:
            return None
        turned = way.orientation.turn(self.geometry)
        region = way.placement.region_geometry(turned)
        stack = np.zeros((turned.shape[0], *patches.shape[1:]), np.float32)
        stack[turned.shape[0] - 1 - prepared.slices if way.orientation.flips[0] else prepared.slices] = patches
        return self._write("patches", stack, coarse_geometry(region, (patches.shape[1], patches.shape[2])))

    def _write(self, kind: str, array: np.ndarray, geometry: Geometry) -> str:
        path = self.folder / f"{self.name}_{kind}.{self._ending}"
        write_map(path, array, geometry)
        return path.name
