"""What a DICOM header said, as plain values to be kept: without the patient's id and the series' description, which become tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from medood.core.volume import Problem
from medood.sources.dicom.planes import File, Place, Plane
from medood.sources.recall import Plain, Token

LAYOUT = 2
"""Changes when what is kept, or what a header is read for, does."""

_FILE = tuple(field.name for field in fields(File) if field.name not in ("path", "name"))
_SECRET = ("patient", "description")


def encode(found: list[Plane] | Problem, token: Token) -> dict[str, Any]:
    """Plain values of the frames of one file, or of why it cannot be used."""
    if isinstance(found, Problem):
        return {"code": found.code, "message": found.message, "uids": [found.study_uid, found.series_uid], "listed": bool(found.files)}
    file = found[0].file
    said = [token(getattr(file, name)) if name in _SECRET else getattr(file, name) for name in _FILE]
    return {"file": said, "planes": [_plain(plane) for plane in found]}


def decode(kept: dict[str, Any], path: Path, name: str) -> list[Plane] | Problem:
    if "code" in kept:
        study, series = kept["uids"]
        return Problem(name, kept["code"], kept["message"], study, series, (name,) if kept["listed"] else ())
    said = dict(zip(_FILE, kept["file"], strict=True))
    file = File(path=path, name=name, **said | {"issues": tuple(said["issues"])})
    return [_plane(file, number, values) for number, values in enumerate(kept["planes"])]


HEADER: Plain[list[Plane] | Problem] = Plain(encode, decode)


def _plain(plane: Plane) -> list[Any]:
    place = plane.place
    where = [place.position, place.across, place.down, place.depth] if place else None
    phase = {str(i): value for i, value in enumerate(plane.phase) if value}
    return [
        plane.rows,
        plane.columns,
        plane.colour,
        plane.spacing,
        plane.measured,
        where,
        plane.stack,
        len(plane.phase),
        phase,
        plane.rescale,
    ]


def _plane(file: File, frame: int, values: Sequence[Any]) -> Plane:
    rows, columns, colour, spacing, measured, where, stack, phases, phase, rescale = values
    place = Place(tuple(where[0]), tuple(where[1]), tuple(where[2]), where[3]) if where else None
    said = tuple(phase.get(str(i), "") for i in range(phases))
    return Plane(file, frame, rows, columns, colour, tuple(spacing), measured, place, stack, said, tuple(rescale))
