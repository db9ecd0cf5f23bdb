"""The folder that `medood score --dicom` fills with DICOM objects of what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medood.core.map_scale import MapScale
from medood.core.volume import Volume
from medood.dicom_objects.finding import Finding, Heat
from medood.dicom_objects.kinds import KINDS
from medood.dicom_objects.object_folder import ObjectFolder
from medood.export.verdict import Verdict
from medood.recipe.run import Run
from medood.scoring.inference import Scored
from medood.scoring.map_folder import native_map, outside, place_of
from medood.scoring.scored_by import scored_by
from medood.transforms.pipeline import Prepared


class DicomFolder:
    """Writes the objects of entries as they are scored; a detector without maps has a report and key objects."""

    def __init__(self, folder: Path, run: Run, *, kinds: tuple[str, ...] = tuple(KINDS), resume: bool = False) -> None:
        values = run.calibration["image"]["map_scale"]
        self._scale = MapScale(**values) if values else None
        self._by = scored_by(run)
        self._objects = ObjectFolder(folder, kinds=kinds, resume=resume)

    def add(self, volume: Volume, prepared: Prepared, scored: Scored, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the objects of an entry whose rows of scores.csv are `rows`. Raises InputError when there can be none."""
        self._objects.add(Finding(volume, Verdict.of_rows(rows), self._by, self._heat(prepared, scored)))

    def _heat(self, prepared: Prepared, scored: Scored) -> Heat | None:
        if scored.map is None or self._scale is None:
            return None
        array, seen = native_map(scored, prepared, outside(self._scale))
        return Heat(array, seen, int(place_of(prepared)["axis"]), self._scale)
