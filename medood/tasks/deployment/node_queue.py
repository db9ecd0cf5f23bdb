"""What the queue of a node says, and taking up what has failed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medood.core.errors import MedoodError
from medood.node.config import load_config
from medood.node.jobs import FAILED, STATES
from medood.node.study_queue import StudyQueue, open_queue, queue_file

_MOST_SHOWN = 50


def status(config: Path) -> bool:
    """Print what is in the queue; whether anything in it has failed."""
    queue = _queue(config)
    studies = queue.overview()
    console = Console(highlight=False, markup=False)
    console.print(", ".join(f"{sum(row[2] == state for row in studies)} {state}" for state in STATES))
    shown = Table("study", "since", "state", "objects", "StudyInstanceUID", "reason", box=None)
    for number, uid, state, objects, reason, changed in studies[:_MOST_SHOWN]:
        since = f"{datetime.fromtimestamp(changed):%Y-%m-%d %H:%M:%S}"
        shown.add_row(*map(Text, (str(number), since, state, str(objects), uid, reason)))
    console.print(shown)
    if len(studies) > _MOST_SHOWN:
        console.print(f"... and {len(studies) - _MOST_SHOWN} older ones.")
    queue.file.close()
    return any(row[2] == FAILED for row in studies)


def retry(config: Path) -> int:
    """Take up what has failed where it failed; returns how many studies. A node may be at work meanwhile."""
    queue = _queue(config)
    try:
        return queue.retry_failed()
    finally:
        queue.file.close()


def _queue(config: Path) -> StudyQueue:
    folder = load_config(config).folder
    if not queue_file(folder).is_file():
        raise MedoodError(f"There is no queue in {folder}: no node has run with this configuration yet.")
    return open_queue(folder)
