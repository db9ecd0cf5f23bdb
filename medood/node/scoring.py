"""Has complete studies scored, one at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medood.core.errors import InputError, MedoodError
from medood.core.shield import kind_of
from medood.node.config import Retry
from medood.node.inbox import Inbox
from medood.node.jobs import Job
from medood.node.network import log
from medood.node.study_queue import StudyQueue
from medood.sources.dicom.library import pydicom

_MOST_ATTEMPTS = 5
"""How often scoring a study may begin and not end: one that ends the process every time must not stop all others."""


@dataclass(frozen=True)
class Made:
    """The files of results, DICOM objects all, and what is to be said of them."""

    files: Sequence[Path]
    note: str = ""


class Score(Protocol):
    def __call__(self, images: Path, series: Collection[str], out: Path) -> Made:
        """Score those `series`, by UID, that lie below the folder `images`, and write results below `out`, an empty folder.

        Raises InputError when there is nothing to score, now and for ever; any other error may be gone at the next try.
        """
        ...


class Scoring:
    """`quiet` are the seconds without anything new after which a study is complete."""

    def __init__(self, queue: StudyQueue, inbox: Inbox, score: Score, work: Path, quiet: float, retry: Retry, keep_images: bool) -> None:
        self.queue, self.inbox, self.score, self.work = queue, inbox, score, work
        self.quiet, self.retry, self.keep_images = quiet, retry, keep_images
        work.mkdir(parents=True, exist_ok=True)

    def step(self) -> bool:
        """Score one study. False when none is complete."""
        job = self.queue.take_up(self.quiet)
        if job is None:
            return False
        if self._needs_scoring(job):
            out = self.work / f"{job.study}-{job.round}"
            shutil.rmtree(out, ignore_errors=True)
            try:
                out.mkdir()
                self._score(job, out)
            except KeyboardInterrupt:
                self.queue.untouched(job)
                raise
        return True

    def _needs_scoring(self, job: Job) -> bool:
        if job.attempts >= _MOST_ATTEMPTS:
            self._fail(job, f"scoring it was begun {job.attempts} times and never ended well; was there enough memory?")
        elif not job.series:
            self.queue.nothing_new(job)
            log.info("Study %d: came again, with nothing new; its results were sent before.", job.study)
            if not self.keep_images:
                self.inbox.delete_spent()
        elif job.lost:
            self._fail(
                job, f"more of a series came after {job.lost} of its objects had been scored and deleted; send the study again as a whole"
            )
        else:
            return True
        return False

    def _score(self, job: Job, out: Path) -> None:
        log.info("Study %d: scoring %d series.", job.study, len(job.series))
        try:
            made = self.score(job.images, job.series, out)
            if not made.files:
                raise InputError(made.note or "no results could be made of it")
            results = [(_sop_uid(path), path) for path in made.files]
            for path in made.files:
                _bring_to_disk(path)
        except InputError as error:
            self._fail(job, str(error))
        except Exception as error:  # whatever it is, the other studies go on
            self._again(job, str(error) if isinstance(error, MedoodError) else kind_of(error))
        else:
            if self.queue.scored(job, results, made.note):
                log.info("Study %d: scored, %d results%s.", job.study, len(results), f"; {made.note}" if made.note else "")
            else:
                log.info("Study %d: more of it came while it was scored; it is scored again.", job.study)

    def _again(self, job: Job, reason: str) -> None:
        if job.attempts + 1 >= _MOST_ATTEMPTS:
            self._fail(job, reason)
            return
        wait = min(self.retry.first_s * 2.0**job.attempts, self.retry.longest_s)
        self.queue.put_back(job, wait, reason)
        log.warning("Study %d: not scored: %s Next try in %.0f s.", job.study, reason, wait)

    def _fail(self, job: Job, reason: str) -> None:
        if self.queue.failed(job, reason):
            log.error("Study %d FAILED: %s.", job.study, reason.rstrip("."))


def _sop_uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def _bring_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
