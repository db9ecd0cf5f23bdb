"""Lives of a node, each a process that ends itself by SIGKILL at a chosen point. Run as a script it is their parent.

    python node_lives.py CONFIGURATION.json        reads a line per life: "POINT NUMBER", or "none"

A life ends when the point is reached for that time; what it is begun with is imported once, so that a life costs no start.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node_trials import stand_in_score

import medood.node.inbox
import medood.node.scoring
import medood.node.sending
from medood.node.archives.archive import Archive
from medood.node.config import NodeConfig
from medood.node.node import Node
from medood.node.study_queue import StudyQueue

BEFORE, AFTER = "before", "after"
POINTS: dict[str, tuple[Any, str, str]] = {
    "an object is written": (medood.node.inbox, "read_object", BEFORE),
    "an object has its name": (StudyQueue, "add", BEFORE),
    "an object is in the queue": (StudyQueue, "add", AFTER),
    "an object is about to be acknowledged": (medood.node.inbox.Inbox, "take", AFTER),
    "a study is taken up": (StudyQueue, "take_up", AFTER),
    "a study is scored": (medood.node.scoring, "_bring_to_disk", BEFORE),
    "results are on the disk": (StudyQueue, "scored", BEFORE),
    "results are in the queue": (StudyQueue, "scored", AFTER),
    "a result is about to go": (Archive, "send", BEFORE),
    "a result has gone": (Archive, "send", AFTER),
    "a result was marked": (StudyQueue, "mark_result", AFTER),
    "all results have gone": (StudyQueue, "sent", BEFORE),
    "a study is sent": (StudyQueue, "sent", AFTER),
    "its results are deleted": (medood.node.sending, "clear_results", AFTER),
    "its images are about to be deleted": (medood.node.inbox, "_delete", BEFORE),
    "its images are deleted": (StudyQueue, "forget_files", BEFORE),
    "their deletion is in the queue": (StudyQueue, "forget_files", AFTER),
}
OFTEN = ("an object is written", "an object has its name", "an object is in the queue", "an object is about to be acknowledged")
OFTEN += ("a study is scored", "a result is about to go", "a result has gone", "a result was marked")
"""Points that a life with one study of three objects and three results comes to three times at least."""

KILLED = -signal.SIGKILL


def arm(point: str, number: int) -> None:
    """From now on this process dies when it comes to the point for the `number`th time, with something to do."""
    owner, name, when = POINTS[point]
    function: Callable[..., Any] = getattr(owner, name)
    count = 0
    lock = threading.Lock()

    def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        made = function(*arguments, **options) if when == AFTER else None
        idle = (name == "take_up" and made is None) or (name in ("_delete", "forget_files") and not arguments[-1])
        with lock:
            count += not idle
            if count == number and not idle:
                os.kill(os.getpid(), signal.SIGKILL)
        return made if when == AFTER else function(*arguments, **options)

    setattr(owner, name, deadly)


def live(config: NodeConfig, line: str) -> None:
    if line != "none":
        point, _, number = line.rpartition(" ")
        arm(point, int(number))
    signal.signal(signal.SIGTERM, _interrupt)
    Node(config, stand_in_score).run()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    config = NodeConfig.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                live(config, line.strip())
            except BaseException as error:
                print(f"failed: {error!r}", flush=True)
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
