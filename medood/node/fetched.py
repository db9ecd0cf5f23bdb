"""Images straight from an archive, for one command: dicomweb://HOST/ROOT#study=UID."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from medood.core.console import Console
from medood.core.errors import InputError, MedoodError
from medood.node.archives.archive import Archive
from medood.node.archives.encryption import login
from medood.node.config import Limits, wrong_url
from medood.node.network import silent_libraries
from medood.node.object_header import MB, read_object

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
def fetched(address: str) -> Iterator[Path]:
    """A folder with the images, a sub-folder a series, which is gone afterwards. Raises MedoodError when nothing could be fetched."""
    wanted, name = selection(address), LOGIN if any(word.startswith(f"{LOGIN}_") for word in os.environ) else None
    with tempfile.TemporaryDirectory(prefix="medood-") as folder:
        with silent_libraries():
            _fetch(Archive(wanted.url, login(name)), wanted, Path(folder), Limits(), Console())
        yield Path(folder)


def _fetch(archive: Archive, wanted: Selection, folder: Path, limits: Limits, console: Console) -> None:
    objects = [(study, series, sop) for study in wanted.studies for sop, series in archive.objects(study).items()]
    chosen = [each for each in objects if not wanted.series or each[1] in wanted.series]
    if not chosen:
        raise MedoodError(f"{archive.url} has nothing of that study, or no such series in it.")
    for study, series, sop in console.track(chosen, "Fetching", len(chosen)):
        place = folder / series / f"{sop}.dcm"
        place.parent.mkdir(exist_ok=True)
        with place.open("wb") as file:
            archive.fetch(study, series, sop, file, limits.object_mb * MB)
        try:
            read_object(place, limits)
        except InputError as error:
            place.unlink()
            console.warn(f"An object was left out: {error}.")
