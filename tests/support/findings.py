"""Findings with a lesion at a known voxel, of DICOM files of every kind, for what is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from dicom_writer import write_enhanced, write_image, write_series
from export_phantoms import GEOMETRIES, LESION, blob

from medood.core.geometry import Geometry
from medood.core.map_scale import MapScale
from medood.core.volume import Volume
from medood.dicom_objects.finding import Finding, Heat
from medood.dicom_objects.scored_by import Rule, ScoredBy
from medood.export.verdict import Verdict
from medood.sources.dicom.dicom import Dicom

BY = ScoredBy("demo", "vae", "ab" * 32, "0.2.0", Rule(0.7, 0.05), Rule(0.6, 0.1))
FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.8.498.77"
PICTURE_LESION = (0, 8, 45)

_AXIAL = GEOMETRIES["axial"]
PLACES = GEOMETRIES | {
    "rows_flipped": Geometry(_AXIAL.affine @ np.array([[1.0, 0, 0, 0], [0, -1, 0, 21], [0, 0, 1, 0], [0, 0, 0, 1]]), _AXIAL.shape),
    "rows_and_order_flipped": Geometry(_AXIAL.affine @ np.diag([1.0, -1, -1, 1]), _AXIAL.shape),
}
KINDS = (*PLACES, "enhanced", "radiograph", "colour", "cine")


def grey_values(shape: tuple[int, ...]) -> np.ndarray:
    values = np.arange(np.prod(shape)).reshape(shape)
    return (values % 1000).astype(np.uint16)


def write_kind(root: Path, kind: str, **extra: Any) -> Path:
    """The files of one kind; those that lie in the patient are CT."""
    placed = {"FrameOfReferenceUID": FRAME_OF_REFERENCE} | extra
    if kind == "enhanced":
        shape = PLACES["oblique"].shape
        write_enhanced(root / "scan", grey_values(shape), PLACES["oblique"], order=[*range(5, 12), *range(5)], extra=placed)
    elif kind == "radiograph":
        write_image(root / "chest", grey_values((40, 60)), modality="CR", extra=extra)
    elif kind == "colour":
        write_image(root / "skin", np.full((40, 60, 3), (200, 150, 120), np.uint8), modality="XC", extra=extra)
    elif kind == "cine":
        write_image(root / "cine", grey_values((4, 40, 60)).astype(np.uint8), modality="US", frames=True, extra=extra)
    else:
        write_series(root, grey_values(PLACES[kind].shape), PLACES[kind], extra=placed)
    return root


def read_kind(root: Path) -> Volume:
    source = Dicom(root)
    (entry,) = source.index().entries
    return source.read(entry)


NARROW = MapScale(0.2, 0.9, 0.3)
"""A scale that is less than 1 wide, as those of most runs are."""


def finding_of(volume: Volume, *, maps: bool = True, **verdict: Any) -> Finding:
    """A blob of width 4 mm around LESION, or around row 8, column 45 of a picture, and a verdict on it."""
    shape = volume.geometry.shape
    voxel = LESION if shape[0] > 4 else PICTURE_LESION
    told: dict[str, Any] = {"score": 0.812345678, "p_value": 0.0125, "decision": "anomalous", "examined": 0.75} | verdict
    slices = {number: (number / 100, 0.5 - number / 100) for number in range(shape[0])}
    heat = Heat(blob(volume.geometry, voxel), np.ones(shape, bool), 0, NARROW) if maps else None
    return Finding(volume, Verdict(**told, slices=slices), BY, heat)


def of_run(finding: Finding, checksum: str) -> Finding:
    """The same, found by another run."""
    return replace(finding, by=replace(finding.by, checksum=checksum))
