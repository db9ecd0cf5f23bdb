"""A run as those know it who read its scores elsewhere."""

from __future__ import annotations

from medood import __version__
from medood.core.files.atomic import sha256
from medood.dicom_objects.scored_by import Rule, ScoredBy
from medood.recipe.run import Run


def scored_by(run: Run) -> ScoredBy:
    image, series = (run.calibration.get(level) for level in ("image", "series"))
    rules = [Rule(float(found["threshold"]), float(found["false_alarm_rate"])) if found else None for found in (image, series)]
    return ScoredBy(run.name, run.recipe.detector["name"], sha256(run.folder / "manifest.json"), __version__, *rules)
