"""What goes through the queue of studies, and the states that it goes through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RECEIVED, SCORING, SCORED, SENT, FAILED = "received", "scoring", "scored", "sent", "failed"
STATES = (RECEIVED, SCORING, SCORED, SENT, FAILED)
WAITING, SENDING, CONFIRMED, REFUSED = "waiting", "sending", "confirmed", "refused"
"""Of a result: not tried; perhaps there, for a try began; taken by the archive; not taken, ever."""


@dataclass(frozen=True)
class Arrival:
    """An object on the disk: its UIDs, its place, its size, and the digest of its content."""

    study: str
    series: str
    sop: str
    path: Path
    size: int
    digest: bytes


@dataclass(frozen=True)
class Job:
    """A study to score.

    round     how often it has been scored before, and once more;  arrivals  how many objects had come when it was taken up
    images    folder of its files;  series  UIDs of its series with something new in them
    lost      how many objects of these series were deleted after an earlier round
    attempts  how often scoring this was begun before, and never ended
    """

    study: int
    round: int
    arrivals: int
    images: Path
    series: tuple[str, ...]
    lost: int
    attempts: int


@dataclass(frozen=True)
class Parcel:
    """What the archive has not confirmed yet of a study's results: SOP instance UID, file, and whether a try began. `since` in seconds."""

    study: int
    uid: str
    attempts: int
    since: float
    results: tuple[tuple[str, Path, bool], ...]
