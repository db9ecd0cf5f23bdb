"""The folder that `medood dicom` and `medood score --dicom` fill: a folder for each series or image, and a list of what is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from medood.core.errors import InputError
from medood.core.files.atomic import append, atomic_file
from medood.core.shield import kind_of, shield
from medood.dicom_objects.finding import Finding
from medood.dicom_objects.key_objects import key_objects
from medood.dicom_objects.kinds import KINDS, LIST
from medood.dicom_objects.library import pydicom, quiet
from medood.dicom_objects.parametric_map import parametric_map
from medood.dicom_objects.picture_object import picture_object
from medood.dicom_objects.segmentation import segmentation
from medood.dicom_objects.source_slices import SourceSlices, source_slices
from medood.dicom_objects.structured_report import structured_report
from medood.export.names import FileNames


class ObjectFolder:
    """Writes the objects of `kinds`. Those of a run and a series always have the same UIDs and the same place."""

    def __init__(self, folder: Path, *, kinds: tuple[str, ...] = tuple(KINDS), resume: bool = False) -> None:
        self.folder, self.kinds = folder, kinds
        lines = _listed(folder)
        self._given = {line["id"]: line["name"] for line in lines} if resume else {}
        self._names = FileNames(self._given.values())
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            _clear(folder, lines)

    def add(self, finding: Finding) -> dict[str, str]:
        """Write the objects of an entry; returns why kinds were left out, in words, by kind.

        Raises InputError when there can be no object at all, as for a picture that is no DICOM.
        """
        identifier = finding.volume.entry.id
        with quiet(), _any_value():
            source = source_slices(finding.volume)
            made, left_out = _made(finding, source, self.kinds)
            name = self._given.get(identifier) or self._names.give(identifier)
            files = {}
            for kind, dataset in made.items():
                source.adopt(dataset)
                files[kind] = f"{name}/{kind}.dcm"
                _save(dataset, self.folder / files[kind], identifier)
        self._append({"id": identifier, "name": name, "files": files, "left_out": left_out})
        self._given[identifier] = name
        return left_out

    def _append(self, line: Mapping[str, Any]) -> None:
        with (self.folder / LIST).open("ab", buffering=0) as file:
            append(file, (json.dumps(line) + "\n").encode("utf-8"))
            os.fsync(file.fileno())


def _made(finding: Finding, source: SourceSlices, kinds: tuple[str, ...]) -> tuple[dict[str, pydicom.Dataset], dict[str, str]]:
    """Objects by kind, and why others are not there. A report speaks of the segmentation, so it comes after it."""
    made: dict[str, pydicom.Dataset] = {}
    left_out: dict[str, str] = {}
    makers: dict[str, Callable[[], pydicom.Dataset]] = {
        "segmentation": lambda: segmentation(finding, source),
        "report": lambda: structured_report(finding, source, made.get("segmentation")),
        "picture": lambda: picture_object(finding, source),
        "map": lambda: parametric_map(finding, source),
        "key_objects": lambda: key_objects(finding, source),
    }
    for kind in (kind for kind in makers if kind in kinds):
        try:
            with shield(kind, lambda error: InputError(f"the header of the series does not allow it ({kind_of(error)})", "header")):
                made[kind] = makers[kind]()
        except InputError as error:
            left_out[kind] = str(error)
    return made, left_out


def _save(dataset: pydicom.Dataset, path: Path, name: str) -> None:
    with (
        atomic_file(path) as part,
        shield(name, lambda error: InputError(f"{name}: its header cannot be copied ({kind_of(error)}).", "header")),
    ):
        dataset.save_as(part, enforce_file_format=True)


class _any_value:
    """Lets a header's own words be written again, whatever they are: a birth date that is none is the archive's, not ours to mend."""

    def __enter__(self) -> None:
        self._before = pydicom.config.settings.writing_validation_mode
        pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE

    def __exit__(self, *_: object) -> None:
        pydicom.config.settings.writing_validation_mode = self._before


def _listed(folder: Path) -> list[dict[str, Any]]:
    """What an earlier call listed; what a crash left of a last line, and what is no such line, is dropped."""
    path = folder / LIST
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    path.write_bytes(whole)
    lines = []
    for line in whole.decode("utf-8", "replace").splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return [line for line in lines if _is_line(line)]


def _is_line(line: Any) -> bool:
    """Whether it names an entry, and files that lie in its own folder here."""
    if not (isinstance(line, dict) and isinstance(line.get("id"), str) and isinstance(line.get("files"), dict)):
        return False
    name = line.get("name")
    return isinstance(name, str) and Path(name).name == name and all(file == f"{name}/{kind}.dcm" for kind, file in line["files"].items())


def _clear(folder: Path, lines: list[dict[str, Any]]) -> None:
    """Take away what an earlier call made here, so that nothing of it is sent for what this one makes."""
    for line in lines:
        for file in line["files"].values():
            (folder / file).unlink(missing_ok=True)
        with suppress(OSError):  # it holds something else, or is gone
            (folder / line["name"]).rmdir()
    (folder / LIST).unlink(missing_ok=True)
