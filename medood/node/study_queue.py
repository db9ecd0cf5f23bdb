"""The queue of studies. Every change is on the disk before anybody is told of it.

```
received -> scoring -> scored -> sent        failed, with a reason, from anywhere; --retry takes it up again
```
A study is `received` while its objects come and until nothing has come for the quiet time; `scoring` while a process works on it; `scored`
when its results are on the disk; `sent` when the archive has confirmed them. Objects that come later take it back to `received`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from medood.node.jobs import FAILED, RECEIVED, REFUSED, SCORED, SCORING, SENDING, SENT, WAITING, Arrival, Job, Parcel
from medood.node.queue_file import QueueFile


class StudyQueue:
    """`now` is the clock, in seconds; it may jump. `stored` are the objects that are on the disk: how many, and how many bytes."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.file, self.now = QueueFile(path), now
        self.stored = self._stored()

    def known(self, arrival: Arrival) -> bool:
        """Whether exactly this object is on the disk and in the queue already; then the study counts as heard of just now."""
        with self.file.change():
            rows = self.file.all(
                "SELECT s.id FROM objects o JOIN studies s ON s.id = o.study WHERE s.uid = ? AND o.sop = ? AND o.digest = ? AND o.present",
                arrival.study,
                arrival.sop,
                arrival.digest,
            )
            for row in rows:
                self.file.run("UPDATE studies SET arrived = ? WHERE id = ? AND state = ?", self.now(), row["id"], RECEIVED)
            return bool(rows)

    def add(self, arrival: Arrival) -> tuple[int, Path | None]:
        """The number of the study, and the file that this one replaces. An object that was scored, and is the same, is nothing new."""
        now = self.now()
        with self.file.change():
            study = self._study(arrival.study)
            before = self.file.all("SELECT * FROM objects WHERE study = ? AND sop = ?", study, arrival.sop)
            same = bool(before) and before[0]["digest"] == arrival.digest
            self.file.run(
                "INSERT OR REPLACE INTO objects(study, sop, series, path, bytes, digest, round) VALUES(?, ?, ?, ?, ?, ?, ?)",
                *(study, arrival.sop, arrival.series, str(arrival.path), arrival.size, arrival.digest),
                before[0]["round"] if same else 0,
            )
            self.file.run(
                "UPDATE studies SET arrivals = arrivals + ?, arrived = ?, attempts = CASE WHEN state = 'scored' THEN attempts ELSE 0 END,"
                " next = CASE WHEN state = 'scored' THEN next ELSE 0 END WHERE id = ?",
                *(0 if same else 1, now, study),
            )
            self.file.run(
                "UPDATE studies SET state = ?, changed = ?, reason = '' WHERE id = ? AND state IN (?, ?)",
                RECEIVED,
                now,
                study,
                SENT,
                FAILED,
            )
            there = bool(before) and bool(before[0]["present"])
            replaced = before[0]["path"] if there and before[0]["path"] != str(arrival.path) else None
            self.stored = self.stored[0] + (not there), self.stored[1] + arrival.size - (before[0]["bytes"] if there else 0)
        return study, Path(replaced) if replaced else None

    def is_result(self, sop: str) -> bool:
        """Whether an object with this UID is one that this node made: archives send such back to whoever takes everything."""
        return bool(self.file.all("SELECT 1 FROM results WHERE sop = ?", sop))

    def objects_of(self, uid: str) -> dict[str, tuple[str, bool]]:
        """What has come of a study: series, and whether the file is there, by SOP instance UID."""
        rows = self.file.all("SELECT o.sop, o.series, o.present FROM objects o JOIN studies s ON s.id = o.study WHERE s.uid = ?", uid)
        return {row["sop"]: (row["series"], bool(row["present"])) for row in rows}

    def count_of(self, uid: str) -> int:
        return self.file.one("SELECT COUNT(*) FROM objects o JOIN studies s ON s.id = o.study WHERE s.uid = ?", uid)[0]

    def _stored(self) -> tuple[int, int]:
        count, size = self.file.one("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM objects WHERE present")
        return count, size

    def files(self) -> set[Path]:
        """Every file of an object that should be on the disk."""
        return {Path(row["path"]) for row in self.file.all("SELECT path FROM objects WHERE present")}

    def take_up(self, quiet: float) -> Job | None:
        """The study that has waited longest of those that are complete: it is `scoring` now."""
        now = self.now()
        with self.file.change():
            rows = self.file.all(
                "SELECT * FROM studies WHERE state = ? AND next <= ? AND (arrived <= ? OR arrived > ?) ORDER BY arrived LIMIT 1",
                *(RECEIVED, now, now - quiet, now + quiet),  # a clock that was set back must not stop the queue
            )
            if not rows:
                return None
            row = rows[0]
            new = "SELECT DISTINCT series FROM objects WHERE study = ? AND present AND round = 0"
            series = tuple(sorted(found["series"] for found in self.file.all(new, row["id"])))
            gone = f"SELECT COUNT(*) FROM objects WHERE study = ? AND NOT present AND series IN ({new})"
            lost = self.file.one(gone, row["id"], row["id"])[0]
            paths = self.file.all("SELECT path FROM objects WHERE study = ? AND present LIMIT 1", row["id"])
            images = Path(paths[0]["path"]).parent.parent if paths else Path()
            self.file.run(
                "UPDATE studies SET state = ?, attempts = attempts + 1, round = round + 1, changed = ? WHERE id = ?",
                SCORING,
                now,
                row["id"],
            )
        return Job(row["id"], row["round"] + 1, row["arrivals"], images, series, lost, row["attempts"])

    def scored(self, job: Job, results: Sequence[tuple[str, Path]], note: str = "") -> bool:
        """Keep the results, by SOP instance UID, and what is to be said of them. False if the study has grown: then they are of no use."""
        with self.file.change():
            if self._grew(job):
                return False
            for sop, path in results:
                self.file.run("INSERT OR REPLACE INTO results(sop, study, path) VALUES(?, ?, ?)", sop, job.study, str(path))
            marks = ", ".join("?" * len(job.series))
            self.file.run(f"UPDATE objects SET round = ? WHERE study = ? AND series IN ({marks})", job.round, job.study, *job.series)
            self._enter(job.study, SCORED)
            self.file.run("UPDATE studies SET note = ? WHERE id = ?", note, job.study)
        return True

    def nothing_new(self, job: Job) -> None:
        """The study was sent once more and is the same."""
        with self.file.change():
            if not self._grew(job):
                self._enter(job.study, SENT)

    def put_back(self, job: Job, wait: float, reason: str = "") -> None:
        """Scoring did not end: try again after `wait` seconds."""
        with self.file.change():
            if not self._grew(job):
                self._enter(job.study, RECEIVED, reason, wait)
                self.file.run("UPDATE studies SET attempts = ? WHERE id = ?", job.attempts + 1, job.study)

    def failed(self, job: Job, reason: str) -> bool:
        """False if the study has grown meanwhile: then it has another chance."""
        with self.file.change():
            if self._grew(job):
                return False
            self._enter(job.study, FAILED, reason)
        return True

    def interrupted(self) -> list[int]:
        """Studies that a process was scoring when it ended. They are `received` again; their attempts count.

        Whoever was sending when it ended needs time to begin again: the quiet time of all that are `received` begins now.
        """
        with self.file.change():
            rows = self.file.all("SELECT id FROM studies WHERE state = ?", SCORING)
            self.file.run("UPDATE studies SET state = ? WHERE state = ?", RECEIVED, SCORING)
            self.file.run("UPDATE studies SET arrived = ? WHERE state = ?", self.now(), RECEIVED)
        return [row["id"] for row in rows]

    def untouched(self, job: Job) -> None:
        """Scoring was given up because the node was told to stop: as if it had not been begun."""
        with self.file.change():
            self.file.run(
                "UPDATE studies SET state = ?, attempts = ? WHERE id = ? AND state = ?", RECEIVED, job.attempts, job.study, SCORING
            )

    def to_send(self) -> Parcel | None:
        """The study that has waited longest with results to send."""
        due = "SELECT * FROM studies WHERE state = ? AND next <= ? ORDER BY next, changed LIMIT 1"
        rows = self.file.all(due, SCORED, self.now())
        if not rows:
            return None
        wanted = "SELECT * FROM results WHERE study = ? AND state IN (?, ?) ORDER BY path"
        results = [
            (row["sop"], Path(row["path"]), row["state"] == SENDING) for row in self.file.all(wanted, rows[0]["id"], WAITING, SENDING)
        ]
        return Parcel(rows[0]["id"], rows[0]["uid"], rows[0]["attempts"], rows[0]["changed"], tuple(results))

    def mark_result(self, sop: str, state: str, reason: str = "") -> None:
        with self.file.change():
            self.file.run("UPDATE results SET state = ?, reason = ? WHERE sop = ?", state, reason, sop)

    def declined(self, sop: str) -> int:
        """Count that the archive declined a result; returns how often it has."""
        with self.file.change():
            self.file.run("UPDATE results SET declined = declined + 1 WHERE sop = ?", sop)
            return self.file.one("SELECT declined FROM results WHERE sop = ?", sop)["declined"]

    def results_of(self, study: int) -> list[tuple[Path, str, str]]:
        """File, state and reason of each result."""
        rows = self.file.all("SELECT * FROM results WHERE study = ? ORDER BY path", study)
        return [(Path(row["path"]), row["state"], row["reason"]) for row in rows]

    def postpone(self, parcel: Parcel, wait: float, reason: str) -> None:
        with self.file.change():
            self.file.run(
                "UPDATE studies SET attempts = attempts + 1, next = ?, reason = ? WHERE id = ? AND state = ?",
                *(self.now() + wait, reason, parcel.study, SCORED),
            )

    def sent(self, parcel: Parcel, note: str = "") -> bool:
        """Everything is confirmed or refused. False if objects have come that were not scored: the study is `received` again."""
        with self.file.change():
            more = bool(self.file.all("SELECT 1 FROM objects WHERE study = ? AND present AND round = 0", parcel.study))
            self._enter(parcel.study, RECEIVED if more else SENT, note)
        return not more

    def gave_up(self, parcel: Parcel, reason: str) -> None:
        with self.file.change():
            self._enter(parcel.study, FAILED, reason)

    def retry_failed(self) -> int:
        """Take up every failed study where it failed; returns how many."""
        with self.file.change():
            waiting = "id IN (SELECT study FROM results WHERE state IN (?, ?))"
            again = "UPDATE studies SET state = ?, attempts = 0, next = 0, changed = ? WHERE state = ? AND "
            sending = self.file.run(again + waiting, SCORED, self.now(), FAILED, WAITING, SENDING)
            self.file.run("UPDATE results SET declined = 0")
            return sending + self.file.run(again + f"NOT {waiting}", RECEIVED, self.now(), FAILED, WAITING, SENDING)

    def spent_files(self) -> list[Path]:
        """Files of objects whose study is sent, with nothing new in it."""
        return [Path(row["path"]) for row in self.file.all(f"SELECT o.path FROM objects o {_SPENT}", SENT)]

    def forget_files(self, files: Sequence[Path]) -> None:
        """These are deleted."""
        with self.file.change():
            for path in files:
                self.file.run("UPDATE objects SET present = 0 WHERE path = ? AND present", str(path))
        self.stored = self._stored()

    def old(self, seconds: float) -> list[int]:
        """Studies that were sent or failed so long ago, and have not been heard of since."""
        rows = self.file.all(
            "SELECT id FROM studies WHERE state IN (?, ?) AND MAX(changed, arrived) < ?", SENT, FAILED, self.now() - seconds
        )
        return [row["id"] for row in rows]

    def forget(self, study: int) -> list[Path]:
        """Nothing is known of the study any more, but the UIDs of its results; returns the files that it had."""
        with self.file.change():
            rows = self.file.all("SELECT path FROM objects WHERE study = ? AND present", study)
            self.file.run("UPDATE results SET state = ? WHERE study = ? AND state IN (?, ?)", REFUSED, study, WAITING, SENDING)
            self.file.run("DELETE FROM studies WHERE id = ?", study)
        self.stored = self._stored()
        return [Path(row["path"]) for row in rows]

    def overview(self) -> list[tuple[int, str, str, int, str, float]]:
        """Number, UID, state, count of objects, reason, and time of the last change of every study."""
        rows = self.file.all(
            "SELECT s.*, (SELECT COUNT(*) FROM objects o WHERE o.study = s.id) AS objects FROM studies s ORDER BY s.changed DESC, s.id DESC"
        )
        why = ["; ".join(filter(None, (row["reason"], row["note"]))) for row in rows]
        return [
            (row["id"], row["uid"], row["state"], row["objects"], reason, row["changed"]) for row, reason in zip(rows, why, strict=True)
        ]

    def _study(self, uid: str) -> int:
        """The number of the study, which begins now if it is new."""
        wanted = "SELECT id FROM studies WHERE uid = ?"
        if not self.file.all(wanted, uid):
            begin = "INSERT INTO studies(uid, state, arrived, changed) VALUES(?, ?, ?, ?)"
            self.file.run(begin, uid, RECEIVED, self.now(), self.now())
        return self.file.one(wanted, uid)["id"]

    def _grew(self, job: Job) -> bool:
        """Whether anything new has come since the job was taken up; then the study is `received` again."""
        row = self.file.one("SELECT arrivals FROM studies WHERE id = ?", job.study)
        if row["arrivals"] == job.arrivals:
            return False
        self._enter(job.study, RECEIVED)
        return True

    def _enter(self, study: int, state: str, reason: str = "", wait: float = 0.0) -> None:
        now = self.now()
        self.file.run(
            "UPDATE studies SET state = ?, reason = ?, attempts = 0, changed = ?, next = ? WHERE id = ?",
            state,
            reason,
            now,
            now + wait,
            study,
        )


_SPENT = (
    "JOIN studies s ON s.id = o.study WHERE s.state = ? AND o.present"
    " AND NOT EXISTS (SELECT 1 FROM objects n WHERE n.study = s.id AND n.present AND n.round = 0)"
)


def queue_file(folder: Path) -> Path:
    """Where the queue of a node lies."""
    return folder / "queue.sqlite"


def open_queue(folder: Path) -> StudyQueue:
    return StudyQueue(queue_file(folder))
