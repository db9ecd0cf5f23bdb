"""The node: one process that receives, scores and sends, in loops that know nothing of each other but the queue."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack

from medood.core.files.lock import alone
from medood.core.shield import kind_of
from medood.node.archives.archive import Archive
from medood.node.archives.destination import Destination
from medood.node.archives.encryption import login
from medood.node.archives.store_scu import StoreScu
from medood.node.config import NodeConfig
from medood.node.inbox import Inbox
from medood.node.jobs import SENT
from medood.node.network import log, silent_libraries
from medood.node.polling import Polling
from medood.node.receiver import Receiver
from medood.node.scoring import Score, Scoring
from medood.node.sending import Sending, clear_results
from medood.node.study_queue import StudyQueue, open_queue

_NAP_S = 0.2
_AFTER_ERROR_S = 5.0
_HOUSEKEEPING_S = 600.0
_GOODBYE_S = 10.0
_DAY_S = 86400.0


class Node:
    """`run` scores in the thread that calls it, until Ctrl-C, SIGTERM or `stop`."""

    def __init__(self, config: NodeConfig, score: Score) -> None:
        self.config, self.score = config, score
        self.work = config.folder / "work"
        self._stop = threading.Event()
        self.ready = threading.Event()
        self.receiver: Receiver | None = None

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        """Raises MedoodError when it cannot begin: another node has the folder, the port is taken, a login or a certificate is missing."""
        folder = self.config.folder
        with ExitStack() as stack:
            stack.enter_context(alone(folder / ".lock", folder, instead="give this node another `folder`"))
            stack.enter_context(silent_libraries())
            queue = open_queue(folder)
            stack.callback(queue.file.close)
            inbox = Inbox(folder, queue, self.config.limits)
            self._resume(queue, inbox)
            scoring = Scoring(queue, inbox, self.score, self.work, self.config.quiet_s, self.config.retry, self.config.keep_images)
            threads = self._threads(queue, inbox)
            stack.callback(self._end, threads)
            if self.receiver:
                self.receiver.start()
            for thread in threads:
                thread.start()
            self.ready.set()
            try:
                self._loop(scoring.step, _NAP_S)
            except KeyboardInterrupt:
                log.info("Stopping. What has come is kept; the same command goes on.")

    def _threads(self, queue: StudyQueue, inbox: Inbox) -> list[threading.Thread]:
        config, stopping = self.config, self._stop.is_set
        sending = Sending(queue, inbox, _destination(config), self.work, config.retry, config.keep_images, stopping)
        loops: dict[str, tuple[Callable[[], object], float]] = {
            "send": (sending.step, _NAP_S),
            "housekeeping": (lambda: self._housekeeping(queue, inbox), _HOUSEKEEPING_S),
        }
        if config.poll:
            archive = Archive(config.poll.url, login(config.poll.credentials), config.poll.tls)
            loops["poll"] = (Polling(archive, queue, inbox, config.poll, config.limits, stopping).look, config.poll.every_s)
        if config.receive:
            self.receiver = Receiver(config.receive, config.limits, inbox)
        return [threading.Thread(target=self._loop, args=loop, name=name, daemon=True) for name, loop in loops.items()]

    def _loop(self, step: Callable[[], object], nap: float) -> None:
        """Step after step; a nap when there was nothing to do, a longer one after an error."""
        while not self._stop.is_set():
            try:
                if not step():
                    self._stop.wait(nap)
            except Exception as error:
                log.error("A step failed (%s); trying again.", kind_of(error))
                self._stop.wait(_AFTER_ERROR_S)

    def _resume(self, queue: StudyQueue, inbox: Inbox) -> None:
        """Bring in order what a process that was killed left behind."""
        inbox.tidy()
        for study in queue.interrupted():
            log.warning("Study %d: the node ended while it was scored; it is scored again.", study)
        if not self.config.keep_images:
            inbox.delete_spent()
        for study, _, state, *_ in queue.overview():
            if state == SENT:
                clear_results(self.work, study)

    def _housekeeping(self, queue: StudyQueue, inbox: Inbox) -> None:
        for study in queue.old(self.config.limits.keep_days * _DAY_S):
            inbox.forget(study)
            for folder in self.work.glob(f"{study}-*"):
                shutil.rmtree(folder, ignore_errors=True)
            log.info("Study %d: forgotten after %g days.", study, self.config.limits.keep_days)

    def _end(self, threads: list[threading.Thread]) -> None:
        self._stop.set()
        if self.receiver:
            self.receiver.stop()
        for thread in threads:
            if thread.is_alive():
                thread.join(_GOODBYE_S)


def _destination(config: NodeConfig) -> Destination:
    if config.stow:
        return Archive(config.stow.url, login(config.stow.credentials), config.stow.tls)
    assert config.store is not None
    return StoreScu(config.store)
