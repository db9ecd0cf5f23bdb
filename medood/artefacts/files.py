"""The files of an export: written as a whole or not at all, and checked against what they answered when they were written."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from torch.export import ExportedProgram

from medood import __version__
from medood.artefacts.description import FORMAT
from medood.artefacts.monai_bundle import COMPARED, METADATA, PROGRAM, write_bundle, write_descriptions
from medood.artefacts.onnx_file import check_onnx, open_onnx, write_onnx
from medood.artefacts.parity import Agreement, Answers, Program, Units, as_arrays, compared, from_arrays, of_program
from medood.artefacts.torch_file import open_torch, write_torch
from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256, write_json

Kind = Literal["onnx", "torch", "monai-bundle"]
SUFFIXES: dict[Kind, str] = {"onnx": ".onnx", "torch": ".pt2", "monai-bundle": ""}


def check_out(out: Path, kind: Kind, overwrite: bool) -> None:
    """Raises MedoodError when nothing can be written there."""
    suffix = SUFFIXES[kind]
    if suffix and out.suffix.lower() != suffix:
        raise MedoodError(f"--out must be a file that ends in {suffix} for --format {kind}, found {out}.")
    if not suffix and (out.suffix.lower() in SUFFIXES.values() and out.suffix):
        raise MedoodError(f"--out must be a folder for --format {kind}, found {out}.")
    if out.exists() and out.is_dir() == bool(suffix):
        raise MedoodError(f"{out} is {'a folder' if out.is_dir() else 'a file'}: choose another --out.")
    taken = [path for path in beside(out, kind).values() if path.exists()]
    if (taken or (out.is_dir() and any(out.iterdir()))) and not overwrite:
        raise MedoodError(f"{(taken or [out])[0]} is already there: choose another --out, or replace it with --overwrite.")
    if kind == "monai-bundle" and out.is_dir() and any(out.iterdir()) and not (out / METADATA).is_file():
        raise MedoodError(f"{out} holds something else than a bundle, which would be lost: choose another --out.")
    if kind == "onnx":
        check_onnx(writing=True)


def beside(out: Path, kind: Kind) -> dict[str, Path]:
    """Where program, images with answers, and description lie."""
    if kind == "monai-bundle":
        return {"program": out / PROGRAM, "compared": out / COMPARED, "description": out / METADATA}
    return {"program": out, "compared": out.with_name(f"{out.name}.npz"), "description": out.with_name(f"{out.name}.json")}


def write_program(folder: Path, kind: Kind, name: str, program: ExportedProgram, description: dict[str, Any]) -> Path:
    """What is called `name` in the end, into a folder; returns it."""
    out = folder / name
    if kind == "monai-bundle":
        write_bundle(out, program, description)
    else:
        (write_onnx if kind == "onnx" else write_torch)(out, program, description)
    return out


def finish(out: Path, kind: Kind, description: dict[str, Any], inputs: np.ndarray, answers: Answers) -> None:
    """Write the images with the answers beside the program, and last the description, which has the checksums of both."""
    places = beside(out, kind)
    np.savez_compressed(places["compared"], **as_arrays(inputs, answers))
    named = {_name(place, out): sha256(place) for part, place in places.items() if part != "description"}
    described = description | {"files": named}
    if kind == "monai-bundle":
        write_descriptions(out, described)
    else:
        write_json(places["description"], described)


def open_program(path: Path, kind: Kind) -> Program:
    return open_onnx(path) if kind == "onnx" else open_torch(path)


def check(path: Path) -> tuple[dict[str, Any], Agreement]:
    """The description of an export, and how its answers agree with those that it gave when it was written.

    Raises MedoodError for a file that is no export, was altered, or cannot be computed.
    """
    kind = _kind(path)
    places = beside(path, kind)
    description = _description(places["description"], path)
    for part in ("program", "compared"):
        _check_sum(places[part], description["files"].get(_name(places[part], path)), places["description"])
    try:
        with np.load(places["compared"], allow_pickle=False) as arrays:
            inputs, answers = from_arrays({name: arrays[name] for name in arrays.files})
        units = Units(**description["parity"]["units"])
    except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise MedoodError(f"{places['compared']} does not hold what medood writes there: export the run again.") from error
    return description, compared(answers, of_program(open_program(places["program"], kind), inputs), units)


def _kind(path: Path) -> Kind:
    if not path.exists():
        raise MedoodError(f"There is no {path}. `medood export RUN --out {path}` makes one.")
    if path.is_dir():
        return "monai-bundle"
    for kind, suffix in SUFFIXES.items():
        if suffix and path.suffix.lower() == suffix:
            return kind
    raise MedoodError(f"{path} is no export of medood: those are files that end in .onnx or .pt2, and folders with {METADATA}.")


def _description(place: Path, path: Path) -> dict[str, Any]:
    if not place.is_file():
        raise MedoodError(f"{path} cannot be checked: {place} is missing, in which medood wrote what it is. Put it back, or export again.")
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        found = found.get("medood", found) if place.name == Path(METADATA).name else found
        number, files = found["medood_artefact"], dict(found["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MedoodError(f"{place} was not written by medood, or is damaged: export the run again.") from error
    if number != FORMAT:
        raise MedoodError(f"{path} was exported by another version of medood than {__version__}, which cannot check it: export it again.")
    return {**found, "files": files}


def _check_sum(place: Path, wanted: Any, description: Path) -> None:
    if not place.is_file():
        raise MedoodError(f"{place} is missing, which belongs to the export: put it back, or export the run again.")
    if sha256(place) != wanted:
        raise MedoodError(f"{place} is cut short or was altered: its checksum is not that in {description}. Export the run again.")


def _name(place: Path, out: Path) -> str:
    return place.relative_to(out).as_posix() if out in place.parents else place.name
