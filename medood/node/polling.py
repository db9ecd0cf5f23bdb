"""Fetches what is new in an archive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from medood.core.errors import InputError
from medood.node.archives.archive import Archive, Found
from medood.node.archives.destination import ArchiveError
from medood.node.config import Limits, Poll
from medood.node.inbox import Inbox, NoRoom
from medood.node.network import log
from medood.node.study_queue import StudyQueue

_MB = 1 << 20


class Polling:
    """`stopping` says that the node is told to end."""

    def __init__(
        self, archive: Archive, queue: StudyQueue, inbox: Inbox, config: Poll, limits: Limits, stopping: Callable[[], bool]
    ) -> None:
        self.archive, self.queue, self.inbox, self.config, self.stopping = archive, queue, inbox, config, stopping
        self._most = limits.object_mb * _MB
        self._complete: dict[str, int] = {}  # how many objects the archive counted when all of a study were here
        self._unusable: set[str] = set()
        self._trouble = ""

    def look(self) -> None:
        """Fetch everything new, unless the node is full or the archive does not answer: then the next look goes on."""
        try:
            listed = list(self.archive.studies(self._filters()))
            self._complete = {found.uid: self._complete[found.uid] for found in listed if found.uid in self._complete}
            for found in listed:
                if not self.stopping() and self._complete.get(found.uid, -1) != found.objects:
                    self._fetch(found)
        except ArchiveError as error:
            self._tell(str(error))
        except NoRoom:
            return  # it was told where it was found
        else:
            self._tell("")

    def _filters(self) -> dict[str, str]:
        today = date.today()
        return {"StudyDate": f"{today - timedelta(days=self.config.days):%Y%m%d}-{today:%Y%m%d}", **self.config.filters}

    def _fetch(self, found: Found) -> None:
        """What is new of a study; of a series with something new in it, also what was deleted here."""
        listed, here = self.archive.objects(found.uid), self.queue.objects_of(found.uid)
        new = {sop: series for sop, series in listed.items() if sop not in here and not self.queue.is_result(sop)}
        changed = set(new.values())
        gone = {sop: series for sop, series in listed.items() if series in changed and sop in here and not here[sop][1]}
        for sop, series in {**gone, **new}.items():
            if self.stopping():
                return
            if sop not in self._unusable:
                self._take(found.uid, series, sop)
        if found.objects is not None:
            self._complete[found.uid] = found.objects

    def _take(self, study: str, series: str, sop: str) -> None:
        try:
            self.inbox.take(lambda file: self.archive.fetch(study, series, sop, file, self._most), sop)
        except InputError as error:
            self._unusable.add(sop)
            log.warning("An object of %s was refused: %s.", self.archive.url, error)

    def _tell(self, trouble: str) -> None:
        """Once, until it is another."""
        if trouble and trouble != self._trouble:
            log.warning("Nothing is fetched: %s The next look is in %.0f s.", trouble, self.config.every_s)
        elif self._trouble and not trouble:
            log.info("%s answers again.", self.archive.url)
        self._trouble = trouble
