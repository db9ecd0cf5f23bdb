"""What a file says of itself: input, outputs, thresholds, versions, and what is not in it. Nothing in it names a person or a path."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import torch

from medood import __version__
from medood.artefacts.carried import Carried
from medood.artefacts.parity import TOLERANCE, Agreement, Units
from medood.artefacts.program import INPUT
from medood.core.files.atomic import sha256

FORMAT = 1
"""Changes when files of an older medood can no longer be checked."""

RESEARCH = "RESEARCH USE ONLY: not a medical device, and not for diagnosis."
_HOW = {
    "pixels": "values as stored in the file after its own rescale (HU for CT, 0..255 for 8-bit pictures), one image, rows down, columns to "
    "the right, turned as on a radiological display",
    "prepared": "one image after the transforms of `caller_must_prepare`",
}


def described(carried: Carried, kind: str, names: list[str]) -> dict[str, Any]:
    """`kind` of file; `names` of the outputs."""
    run = carried.run
    image, known = run.calibration["image"], run.provenance
    return {
        "medood_artefact": FORMAT,
        "kind": kind,
        "intended_use": RESEARCH,
        "run": run.name,
        "run_checksum": sha256(run.folder / "manifest.json"),
        "detector": run.recipe.detector["name"],
        "features": (run.recipe.features or {}).get("name"),
        "trained_with": {key: known.get(key) for key in ("medood", "commit", "torch", "monai", "seed", "time")},
        "exported_with": {"medood": __version__, "torch": torch.__version__, "time": _now()},
        "input": _input(carried),
        "outputs": {name: _OUTPUTS[name] for name in names},
        "decision": {
            "threshold": image["threshold"],
            "false_alarm_rate": image["false_alarm_rate"],
            "false_alarm_interval": image["interval"],
            "held_out_images": len(image["scores"]),
            "held_out_patients": image["patients"],
        },
        "map_scale": image["map_scale"],
        "not_inside": carried.not_inside,
    }


def parity(images: int, of: str, units: Units, agreement: Agreement) -> dict[str, Any]:
    """`of`: whose images were compared on."""
    largest = {"score": agreement.score, "map": agreement.map}
    return {"images": images, "of": of, "largest_difference": largest, "decisions_differ": agreement.decisions, "units": asdict(units)} | {
        "tolerance": TOLERANCE
    }


_OUTPUTS = {
    "score": "float64 (1,): higher is more anomalous; as in scores.csv",
    "p_value": "float64 (1,): share of normal images that score as high, from the held-out ones; never 0",
    "abnormal": "bool (1,): score > threshold, up to rounding",
    "map": "float32 (1, 1, rows, columns): higher is more anomalous",
}


def _input(carried: Carried) -> dict[str, Any]:
    plan = carried.run.recipe.transforms
    spacing = carried.grid.pixel_mm if carried.grid else (carried.raster.pixel_mm if carried.raster.known else None)
    found: dict[str, Any] = {
        "name": INPUT,
        "shape": [1, *carried.inputs.shape[1:]],
        "dtype": "float32",
        "is": carried.kind,
        "values": _HOW[carried.kind],
        "range": [float(carried.inputs.min()), float(carried.inputs.max())] if carried.kind == "pixels" else list(plan.range),
        "pixel_mm": None if spacing is None else list(spacing),
        "pixel_mm_matters": plan.field_of_view is not None or any(_in_mm(carried)),
    }
    if carried.kind == "prepared":
        wanted = ("plane", "steps", "fit", "field_of_view", "size", "range", "background", "min_foreground")
        transforms = plan.model_dump(mode="json", include=set(wanted))
        found["caller_must_prepare"] = {"because": carried.before, "transforms": transforms}
    return found


def _in_mm(carried: Carried) -> tuple[Any, ...]:
    plan = carried.run.recipe.pooling
    return plan.median_mm, plan.gaussians_mm, plan.erode_mm, plan.reduction == "top_mm2"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
