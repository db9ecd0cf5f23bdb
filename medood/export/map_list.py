"""A folder of maps on disk: maps.json says which run made them and how they are coloured, maps.jsonl lists them, one entry a line.

maps.json
    version, run, source   of this format; the name of the run; name, root and parameters of the source of the images
    scored_by  detector, checksum and rules of decision of that run, and the version of medood
    scale    low, high, threshold: the colours of the run; null for a detector without maps
    stored   low, high: what 0 and 65535 mean in maps that are 16-bit PNG
    outside  the map's value where nothing was examined, and outside the body
maps.jsonl
    id, name       of the entry, and of its files;  mark  by which the image is known again, or null
    map            file of the map on the native grid of the image;  plain  of the prepared intensity;  patches  of the patch scores
    not_examined   file of a mask, 1 where nothing was examined;  picture  the map in colours over the image. Files that were not asked
                   for, or that there cannot be, are null
    axis, slices   of the array along which the volume was cut, and the indices along it that were scored
    box            first and one past the last index along each axis (slices, rows, columns) that a scored slice shows
    grid           of maps that are PNG: the affine, and whether its millimetres are known
    ranges         of maps that are PNG, by kind: what 0 and 65535 mean; of a map that is `stored`, or more where it exceeds that
    verdict        score, p_value, decision, domain_reason, issues and examined as in scores.csv;  scores, p_values  of the slices
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.errors import InputError, MedoodError
from medood.core.geometry import Geometry
from medood.export.maps import read_map, read_png16

VERSION = 2
HEADER, LIST = "maps.json", "maps.jsonl"
FILES = ("map", "not_examined", "plain", "patches", "picture")
Line = Mapping[str, Any]


def read_header(folder: Path) -> dict[str, Any]:
    """maps.json. Raises MedoodError when it is none, is of another version, or the run has no maps."""
    path = folder / HEADER
    damaged = f"{path} is damaged: make the maps again with `medood score --maps`."
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MedoodError(f"{folder} is not a folder of maps: it has no {HEADER}. Make one with `medood score --maps`.") from error
    except ValueError as error:
        raise MedoodError(damaged) from error
    if not isinstance(header, dict):
        raise MedoodError(damaged)
    if header.get("version") != VERSION:
        raise MedoodError(f"{path} is of version {header.get('version')}, this medood reads version {VERSION}: make the maps again.")
    if not {"run", "scale"} <= header.keys():
        raise MedoodError(damaged)
    if header["scale"] is None:
        raise MedoodError(f"The run {header['run']} has no maps: its method gives scores only.")
    if not isinstance(header.get("source"), dict):
        raise MedoodError(damaged)
    return header


def check_scored_together(folder: Path, checksum: str | None, scores: Path) -> None:
    """Raises MedoodError when the maps are of another run than the `scores`, of one with this checksum, as far as both say so."""
    made = (read_header(folder).get("scored_by") or {}).get("checksum") if checksum else None
    if made and made != checksum:
        raise MedoodError(f"{scores} and the maps in {folder} are of different runs: name the maps that were made with these scores.")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The entries of the folder, each as listed last; a line that was cut off while it was written is left out.

    Raises MedoodError when there is no list, or it is not one of medood.
    """
    path = folder / LIST
    if not path.is_file():
        raise MedoodError(f"{folder} has no {LIST}: no image was scored into it.")
    try:
        whole, _, last = path.read_text(encoding="utf-8").rpartition("\n")
        lines = [json.loads(line) for line in whole.split("\n") if line]
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(last))
        if all(_is_line(line) for line in lines):
            return list({line["id"]: line for line in lines}.values())
        raise ValueError("not written by medood")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MedoodError(f"{path} is damaged: make the maps again with `medood score --maps`.") from error


def read_array(folder: Path, line: Line, kind: str = "map") -> tuple[np.ndarray, Geometry]:
    """The float32 map (slices, rows, columns) of a line, and its geometry. Raises InputError when the file cannot be read."""
    path = folder / line[kind]
    if not path.name.endswith(".png"):
        return read_map(path)
    try:
        low, high = line["ranges"][kind]
        array = read_png16(path, float(low), float(high))
        affine = np.array(line["grid"]["affine"], float).reshape(4, 4)
        return array, Geometry(affine, array.shape, bool(line["grid"]["spacing_known"]), in_patient=False)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / LIST} does not say what the values of {path.name} mean: make the maps again.", "damaged") from error


def examined(line: Line, shape: tuple[int, int, int]) -> np.ndarray:
    """Bool (slices, rows, columns) of a line with a box: True where the image was scored."""
    found = np.zeros(shape, bool)
    inside: list[Any] = [slice(low, high) for low, high in line["box"]]
    inside[line["axis"]] = line["slices"]
    found[tuple(inside)] = True
    return found


def _is_line(line: Any) -> bool:
    """Whether it names an entry, and files that lie in the folder."""
    files = [line[key] for key in (*FILES, "name") if line.get(key) is not None]
    return isinstance(line["id"], str) and isinstance(line["map"], str) and all(Path(file).name == file for file in files)
