"""What an index keeps of one file: the answers to all that the source `folder` asks of it, read once."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from medood.core.errors import InputError
from medood.core.volume import Problem
from medood.index.names import stored
from medood.index.tokens import tokens
from medood.sources.content import kind_of_name
from medood.sources.dicom.entries import patient_key
from medood.sources.dicom.headers import read_header
from medood.sources.dicom.identity import content_of
from medood.sources.dicom.library import quiet
from medood.sources.dicom.planes import Plane
from medood.sources.dicom.record import HEADER
from medood.sources.folder import Folder, is_of_dicom
from medood.sources.nifti import masks_in
from medood.sources.recall import Question, Token, remembering
from medood.sources.roles import case_of

_DIED = "Two processes died while they read its header, which may crash a library. It is left out until it changes."


@dataclass(frozen=True)
class Found:
    """A file below the root, as a look at the folder shows it; `place` is its number in the order of sources."""

    place: int
    name: str
    size: int
    mtime_ns: int
    hidden: bool


class Row(NamedTuple):
    """A row of the table `files`: `by_name` and `by_study` are keys of the files that it is grouped with, `answers` is JSON."""

    name: str
    size: int
    mtime_ns: int
    hidden: bool
    kind: str | None
    modality: str | None
    study_uid: str | None
    series_uid: str | None
    sop_uid: str | None
    patient: str | None
    issues: str
    problem: str | None
    by_name: str | None
    by_study: str | None
    transient: bool
    answers: str


@dataclass
class Recorder:
    """A memory that knows nothing yet, and keeps what it is told of one file."""

    token: Token
    answers: dict[str, Any] = field(default_factory=dict)

    def get(self, question: Question, path: Path) -> Any:
        return self.answers.get(question)

    def put(self, question: Question, path: Path, answer: Any) -> None:
        self.answers[question] = answer


def rows_of(root: Path, files: Sequence[Found], key: bytes, once: bool = False) -> list[Row]:
    """Rows of the table `files`, read from the headers of some files; patients in them are tokens of `key`.

    Of files that are here `once` it also keeps what is asked of few of them, and takes a look at pixels.
    """
    folder, token = Folder(root), tokens(key)
    with quiet():
        return [_row(folder, file, Recorder(token), once) for file in files]


def deadly_row(root: Path, file: Found, key: bytes) -> Row:
    """The row of a file that ends every process that reads it: nobody opens it again as long as it stays as it is."""
    refused = Problem(file.name, "worker_died", _DIED)
    kind = kind_of_name(file.name) or "dicom"  # which has any name
    error = {"error": [refused.code, refused.message]}
    answers = {"kind": {"value": [kind, None]}, "dicom": {"value": HEADER.encode(refused, tokens(key))}}
    answers |= dict.fromkeys(("image", "nifti", "label_map", "content"), error)
    return _row(Folder(root), file, Recorder(tokens(key), answers), once=False)


def _row(folder: Folder, file: Found, memory: Recorder, once: bool) -> Row:
    path = folder.root / file.name
    with remembering(memory):
        if not file.hidden:
            with suppress(InputError):  # which the memory keeps
                folder.by_file([path])
        header = read_header(path, file.name)
        header = read_header(path, file.name) if isinstance(header, list) else header  # as it is remembered: with tokens
        if once and isinstance(header, list):
            with suppress(InputError):
                content_of(header[0].file, decode=False)
        if once and "value" in memory.answers.get("nifti", {}):
            masks_in([file.name, file.name], lambda _: path)  # asks whether it is a label map, as of any two volumes of one case
    kind = (memory.answers.get("kind", {}).get("value") or [None])[0]
    problem = header if isinstance(header, Problem) and is_of_dicom(header, kind) and (kind or file.hidden) else None
    if isinstance(header, Problem) and header.code == "not_dicom":
        del memory.answers["dicom"]
    plane = header[0] if isinstance(header, list) else None
    codes = _codes(memory.answers)
    return Row(
        name=stored(file.name),
        size=file.size,
        mtime_ns=file.mtime_ns,
        hidden=file.hidden,
        kind=kind,
        modality=plane.file.modality if plane else None,
        study_uid=plane.file.study_uid if plane else problem.study_uid if problem else None,
        series_uid=plane.file.series_uid if plane else problem.series_uid if problem else None,
        sop_uid=plane.file.sop_uid if plane else None,
        patient=stored(patient_key(plane)) if plane else None,
        issues=";".join(_issues(memory.answers, plane)),
        problem=codes[0] if codes else None,
        by_name=stored(_group_by_name(kind, file.name)) if kind != "dicom" and not file.hidden else None,
        by_study=stored(_group_by_study(plane, file.name)) if plane or problem else None,
        transient="out_of_memory" in codes or (file.size >= 0 and not os.access(path, os.R_OK)),
        answers=json.dumps(memory.answers, separators=(",", ":")),
    )


def _codes(answers: dict[str, Any]) -> list[str]:
    """Why the file cannot be used, if so."""
    errors = [answer["error"][0] for answer in answers.values() if "error" in answer]
    header = answers.get("dicom", {}).get("value", {})
    return errors + ([header["code"]] if "code" in header else [])


def _issues(answers: dict[str, Any], plane: Plane | None) -> Sequence[str]:
    return plane.file.issues if plane else answers.get("nifti", {}).get("value", (0, ()))[1]


def _group_by_name(kind: str | None, name: str) -> str:
    """Pictures and volumes of one case decide together which of them are masks; all else stands alone."""
    return f"{kind} {case_of(name)}" if kind in ("image", "nifti") else f"file {name}"


def _group_by_study(plane: Plane | None, name: str) -> str:
    """DICOM files of one study belong together, those without one by series; what cannot be used stands alone."""
    if plane is None:
        return f"file {name}"
    file = plane.file
    return f"study {file.study_uid}" if file.study_uid else f"series {file.series_uid}" if file.series_uid else f"file {name}"
