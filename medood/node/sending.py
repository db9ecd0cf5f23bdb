"""Sends the results of scored studies, until the archive has confirmed each of them or will never take it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from medood.core.errors import MedoodError
from medood.core.shield import kind_of
from medood.node.archives.destination import Declined, Destination
from medood.node.config import Retry
from medood.node.inbox import Inbox
from medood.node.jobs import CONFIRMED, REFUSED, SENDING, Parcel
from medood.node.network import log
from medood.node.study_queue import StudyQueue

_MOST_DECLINED = 5
"""How often an object may be declined, without a reason that says for ever, until it counts as refused."""


class Sending:
    """`stopping` says that the node is told to end. Images go once the results are confirmed, but with `keep_images`."""

    def __init__(
        self,
        queue: StudyQueue,
        inbox: Inbox,
        destination: Destination,
        work: Path,
        retry: Retry,
        keep_images: bool,
        stopping: Callable[[], bool],
    ) -> None:
        self.queue, self.inbox, self.destination, self.work = queue, inbox, destination, work
        self.retry, self.keep_images, self.stopping = retry, keep_images, stopping

    def step(self) -> bool:
        """Try to send the results of one study. False when there are none to send now."""
        parcel = self.queue.to_send()
        if parcel is None:
            return False
        trouble = self._deliver(parcel)
        if self.stopping():
            return False
        if trouble:
            self._later(parcel, trouble)
        else:
            self._finish(parcel)
        return True

    def _deliver(self, parcel: Parcel) -> str:
        """Why some results are still here; empty when all are confirmed or refused."""
        trouble = ""
        for sop, path, began in parcel.results:
            if self.stopping():
                return trouble
            try:
                refusal = self._send(parcel, sop, path, began)
            except Declined as error:
                if self.queue.declined(sop) < _MOST_DECLINED:
                    trouble = str(error)
                    continue
                refusal = str(error).rstrip(".")
            except (MedoodError, OSError) as error:  # nor would it take the next one
                return str(error) if isinstance(error, MedoodError) else f"a file of them cannot be read ({kind_of(error)})."
            self.queue.mark_result(sop, REFUSED if refusal else CONFIRMED, refusal)
        return trouble

    def _send(self, parcel: Parcel, sop: str, path: Path, began: bool) -> str:
        """Why it never will be taken, or nothing. What an earlier try may have brought there is asked for first."""
        if began and self.destination.has(parcel.uid, sop):
            return ""
        self.queue.mark_result(sop, SENDING)
        return self.destination.send(parcel.uid, path)

    def _later(self, parcel: Parcel, trouble: str) -> None:
        hours = (self.queue.now() - parcel.since) / 3600
        if hours >= self.retry.give_up_h:
            self.queue.gave_up(parcel, trouble)
            log.error(
                "Study %d FAILED: its results could not be sent for %.1f hours: %s Repeat with --retry.", parcel.study, hours, trouble
            )
            return
        wait = min(self.retry.first_s * 2.0 ** min(parcel.attempts, 60), self.retry.longest_s)
        self.queue.postpone(parcel, wait, trouble)
        log.warning("Study %d: results not sent: %s Next try in %.0f s.", parcel.study, trouble, wait)

    def _finish(self, parcel: Parcel) -> None:
        results = self.queue.results_of(parcel.study)
        refused = "; ".join(sorted({reason for _, state, reason in results if state == REFUSED}))
        taken = sum(state == CONFIRMED for _, state, _ in results)
        if results and not taken:
            self.queue.gave_up(parcel, refused)
            log.error("Study %d FAILED: %s, and nothing else could be sent.", parcel.study, refused)
            return
        if refused:
            log.warning("Study %d: %s; %d other results were taken.", parcel.study, refused, taken)
        done = self.queue.sent(parcel, refused)
        log.info("Study %d: sent, %d results%s.", parcel.study, taken, "" if done else "; more of it has come meanwhile")
        clear_results(self.work, parcel.study)
        if not self.keep_images:
            self.inbox.delete_spent()


def clear_results(work: Path, study: int) -> None:
    """Of what was made of a study, only the tables of scores stay."""
    for folder in work.glob(f"{study}-*"):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
