"""Series straight from an archive, one after the other, for one command: dicomweb://HOST/ROOT#study=UID."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from medood.core.console import Console
from medood.core.errors import InputError, MedoodError
from medood.core.shield import shield
from medood.node.archives.archive import Archive
from medood.node.archives.encryption import login
from medood.node.config import Limits, wrong_url
from medood.node.network import silent_libraries
from medood.node.object_header import MB, read_object
from medood.sources.dicom.library import pydicom

LOGIN = "MEDOOD_DICOMWEB"
"""Begin of the environment variables with the login of such an archive."""

_ADDRESS = re.compile(r"dicomweb(\+http)?:/+([^#]+)#(.+)")  # a path has lost one of the two slashes
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Selection:
    """Studies of an archive, or only some of their series."""

    url: str
    studies: Sequence[str]
    series: Sequence[str]


def selection(address: str) -> Selection:
    """Raises MedoodError, without the login that may be in it, for an address that is none."""
    found = _ADDRESS.fullmatch(address)
    words = parse_qs(found[3]) if found else {}
    uids = [uid for values in words.values() for uid in values]
    if not found or not words.get("study") or words.keys() - {"study", "series"} or not all(map(_UID.fullmatch, uids)):
        raise MedoodError(
            "An archive is named as dicomweb://HOST/ROOT#study=UID, with &series=UID for one series only; "
            "dicomweb+http:// is without encryption."
        )
    url = f"{'http' if found[1] else 'https'}://{found[2]}"
    if wrong := wrong_url(url):
        raise MedoodError(f"dicomweb: {wrong}")
    return Selection(url, words["study"], words.get("series", []))


@contextmanager
def fetched(address: str, *, keep: bool = False) -> Iterator[tuple[Path, Iterator[str]]]:
    """An empty folder, and what brings the series into it: one at each step, in a sub-folder, in place of the one before
    unless they are to be kept until the end.

    Each step has an opaque name of the patient. It raises MedoodError when the archive does not answer; the first one also when there is
    nothing of that study.
    """
    wanted, name = selection(address), LOGIN if any(word.startswith(f"{LOGIN}_") for word in os.environ) else None
    with tempfile.TemporaryDirectory(prefix="medood-") as folder, silent_libraries():
        yield Path(folder), _one_by_one(Archive(wanted.url, login(name)), wanted, Path(folder), keep, Console())


def _one_by_one(archive: Archive, wanted: Selection, folder: Path, keep: bool, console: Console) -> Iterator[str]:
    patients: dict[str, str] = {}
    series: dict[tuple[str, str], list[str]] = {}
    for study in wanted.studies:
        for sop, uid in archive.objects(study).items():
            if not wanted.series or uid in wanted.series:
                series.setdefault((study, uid), []).append(sop)
    if not series:
        raise MedoodError(f"{archive.url} has nothing of that study, or no such series in it.")
    for number, ((study, uid), sops) in enumerate(series.items(), 1):
        place = folder / uid
        place.mkdir()
        for sop in console.track(sops, f"Fetching series {number} of {len(series)}", len(sops)):
            _fetch(archive, (study, uid, sop), place / f"{sop}.dcm", console)
        key = _patient_in(place) or f"study {study}"
        yield patients.setdefault(key, f"patient-{len(patients) + 1:04d}")
        if not keep:
            shutil.rmtree(place)


def _patient_in(folder: Path) -> str:
    """The patient's id in the first object of a folder, to compare and not to tell; empty without one."""
    for path in sorted(folder.iterdir()):
        with suppress(InputError), shield("the object"):
            return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"]).get("PatientID") or "")
    return ""


def _fetch(archive: Archive, uids: tuple[str, str, str], path: Path, console: Console) -> None:
    """An object that could do harm is left out, with a warning."""
    limits = Limits()
    with path.open("wb") as file:
        archive.fetch(*uids, file, limits.object_mb * MB)
    try:
        read_object(path, limits)
    except InputError as error:
        path.unlink()
        console.warn(f"An object was left out: {error}.")
