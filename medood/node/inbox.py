"""Where objects come in: on the disk and in the queue before their sender is told that they have arrived."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from medood.core.errors import InputError, MedoodError
from medood.core.shield import kind_of
from medood.node.config import Limits
from medood.node.jobs import Arrival
from medood.node.network import log
from medood.node.object_header import ObjectHeader, read_object
from medood.node.study_queue import StudyQueue

_GB = 1 << 30


class NoRoom(MedoodError):
    """Nothing can be taken now; perhaps later."""


class Inbox:
    """Takes objects, one file each, from any number of threads.

    ```
    incoming/                       half-written files; emptied when a node starts
    studies/STUDY/SERIES/OBJECT.dcm files that are in the queue, under digests of their UIDs
    ```
    """

    def __init__(self, folder: Path, queue: StudyQueue, limits: Limits) -> None:
        self.incoming, self.studies = folder / "incoming", folder / "studies"
        self.queue, self.limits = queue, limits
        self._full = False
        self._files = threading.Lock()  # no file is deleted while the same object comes again
        for path in (self.incoming, self.studies):
            path.mkdir(parents=True, exist_ok=True)

    def take(self, write: Callable[[BinaryIO], object], expected: str = "") -> None:
        """Keep the DICOM file that `write` writes; `expected` is the SOP instance UID that its sender announced.

        When this returns, the object is on the disk and in the queue, or it was there before, or it is a result of this node. Raises
        NoRoom when it may be sent again later, InputError when it never will be taken.
        """
        self.check_room()
        part = self.incoming / f"{uuid.uuid4().hex}.part"
        try:
            with part.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            found = read_object(part, self.limits)
            if expected and found.sop != expected:
                raise InputError("it is another object than was announced", "damaged")
            if not self.queue.is_result(found.sop):
                self._keep(part, found)
        except (OSError, sqlite3.Error) as error:
            raise self._no_room(f"{kind_of(error)} while writing") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def check_room(self) -> None:
        """Raises NoRoom when the node, or its disk, is full."""
        try:
            (count, stored), free = self.queue.stored, shutil.disk_usage(self.studies).free
        except (OSError, sqlite3.Error) as error:
            raise self._no_room(kind_of(error)) from error
        if stored >= self.limits.storage_gb * _GB:
            raise self._no_room(f"{stored / _GB:.1f} GB are waiting or kept (limits.storage_gb)")
        if count >= self.limits.objects:
            raise self._no_room(f"{count} objects are waiting or kept (limits.objects)")
        if free <= self.limits.free_gb * _GB:
            raise self._no_room(f"only {free / _GB:.1f} GB of the disk are free (limits.free_gb)")
        if self._full:
            self._full = False
            log.info("There is room again.")

    def tidy(self) -> None:
        """Take away what an earlier process left half-done: none of it was acknowledged."""
        for path in self.incoming.iterdir():
            path.unlink()
        known = self.queue.files()
        for path in [path for path in self.studies.rglob("*") if path.is_file() and path not in known]:
            path.unlink()

    def delete_spent(self) -> None:
        """Delete the files of studies that are sent; what a crash interrupts is done when the node starts again."""
        with self._files:
            files = self.queue.spent_files()
            _delete(files)
            self.queue.forget_files(files)

    def forget(self, study: int) -> None:
        """Delete the files of a study, and that it ever was."""
        with self._files:
            _delete(self.queue.forget(study))

    def _keep(self, part: Path, found: ObjectHeader) -> None:
        with self._files:
            self._keep_file(part, found)

    def _keep_file(self, part: Path, found: ObjectHeader) -> None:
        folder = self.studies / _short(found.study) / _short(found.series)
        place = folder / f"{_short(found.sop)}-{found.digest.hex()[:8]}.dcm"
        arrival = Arrival(found.study, found.series, found.sop, place, part.stat().st_size, found.digest)
        if self.queue.known(arrival):
            return
        if self.queue.count_of(found.study) >= self.limits.study_objects:
            raise InputError(f"its study has {self.limits.study_objects} objects already (limits.study_objects)", "too_many")
        _make(folder, self.studies)
        part.replace(place)
        _sync(folder)
        study, replaced = self.queue.add(arrival)
        if replaced:
            log.warning("Study %d: an object came again with other content; the last one counts.", study)
            with suppress(OSError):
                replaced.unlink()

    def _no_room(self, why: str) -> NoRoom:
        if not self._full:
            log.error("No room: %s. Nothing more is taken until there is some.", why)
        self._full = True
        return NoRoom(f"No room: {why}.")


def _delete(files: Sequence[Path]) -> None:
    """With the folders that are empty then."""
    for path in files:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            path.parent.rmdir()
            path.parent.parent.rmdir()


def _make(folder: Path, above: Path) -> None:
    """The folder and those between it and `above`, so that a crash of the machine keeps them."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    while folder != above:
        folder = folder.parent
        _sync(folder)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can (Windows cannot)."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _short(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:16]
