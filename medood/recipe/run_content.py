"""What must stand in the tables of a run folder before anything relies on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from medood.core.errors import RunError


class _Content(BaseModel):
    model_config = ConfigDict(extra="allow")


class _MapScale(_Content):
    low: FiniteFloat
    high: FiniteFloat
    threshold: FiniteFloat


class _Scores(_Content):
    scores: list[FiniteFloat] = Field(min_length=1)
    false_alarm_rate: FiniteFloat
    threshold: FiniteFloat
    patients: int
    interval: tuple[FiniteFloat, FiniteFloat] | None
    interval_reason: str
    map_scale: _MapScale | None


class _Calibration(_Content):
    image: _Scores
    series: _Scores | None
    series_reason: str
    parts: list[str]
    pooling_threshold: FiniteFloat | None


class _Row(_Content):
    id: str
    group: str
    part: str
    images: int


_CALIBRATION, _INDEX = TypeAdapter(_Calibration), TypeAdapter(list[_Row])


def calibration_in(folder: Path) -> dict[str, Any]:
    """calibration.json of a run: thresholds, scores of the held-out images."""
    return _read(folder / "calibration.json", _CALIBRATION)


def index_in(folder: Path) -> list[dict[str, Any]]:
    """index.json of a run: id, group, part and number of images of every training and held-out entry, and of those of the contrast."""
    return _read(folder / "index.json", _INDEX)


def _read(path: Path, kind: TypeAdapter[Any]) -> Any:
    try:
        content = path.read_bytes()
        kind.validate_json(content)
        return json.loads(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise RunError(
            f"{path} is not what medood writes there ({where}: {first['msg']}): restore the folder from a copy or train again."
        ) from error
