"""The queue, its clocks, and giving up."""

from __future__ import annotations

import logging
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from node_trials import configuration

from medood.core.errors import MedoodError
from medood.node.archives.destination import ArchiveError, Declined
from medood.node.config import Limits, Retry
from medood.node.inbox import Inbox
from medood.node.jobs import FAILED, RECEIVED, SCORED, SENT, Arrival
from medood.node.network import log
from medood.node.node import Node
from medood.node.scoring import Made, Scoring
from medood.node.sending import Sending
from medood.node.study_queue import StudyQueue


class Clock:
    def __init__(self) -> None:
        self.time = 1e9

    def __call__(self) -> float:
        return self.time


class Destination:
    """Does what it is told to; `sent` has what came."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.trouble: Exception | None = None

    def has(self, study: str, sop: str) -> bool:
        self.asked.append(sop)
        return sop in self.there

    def send(self, study: str, path: Path) -> str:
        if self.trouble:
            raise self.trouble
        self.sent.append(path.name)
        return ""


class Desk:
    """A queue with its loops, without threads, under a clock that is set by hand."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.clock, self.destination, self.folder = Clock(), Destination(), folder
        self.queue = StudyQueue(folder / "queue.sqlite", self.clock)
        self.inbox = Inbox(folder, self.queue, Limits())
        retry = Retry(first_s=10.0, longest_s=60.0, give_up_h=1.0)
        self.failure: Exception | None = None
        self.sending = Sending(self.queue, self.inbox, self.destination, folder / "work", retry, False, lambda: False)
        self.scoring = Scoring(self.queue, self.inbox, self.score, folder / "work", 30.0, retry, False)

    def score(self, *_: object) -> Made:
        if self.failure:
            raise self.failure
        return Made([])

    def arrive(self, sop: str = "1.1", study: str = "1", digest: bytes = b"a") -> int:
        path = self.folder / "studies" / study / "s" / f"{sop}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        return self.queue.add(Arrival(study, f"{study}.0", sop, path, 1, digest))[0]

    def scored(self) -> None:
        """A study with two results that wait to be sent."""
        self.arrive()
        self.clock.time += 31
        job = self.queue.take_up(30.0)
        assert job
        assert self.queue.scored(job, [("9.1", Path("one.dcm")), ("9.2", Path("two.dcm"))])

    @property
    def state(self) -> str:
        return self.queue.overview()[0][2]

    @property
    def reason(self) -> str:
        return self.queue.overview()[0][4]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_study_is_complete_when_nothing_has_come_for_a_while(desk: Desk) -> None:
    desk.arrive("1.1")
    desk.clock.time += 29
    desk.arrive("1.2")
    desk.clock.time += 29
    assert desk.queue.take_up(30.0) is None
    desk.clock.time += 2
    assert desk.queue.take_up(30.0)


def test_a_clock_that_is_set_back_does_not_stop_the_queue(desk: Desk) -> None:
    desk.arrive()
    desk.clock.time -= 86400
    assert desk.queue.take_up(30.0)


def test_waits_grow_and_it_gives_up_loudly(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.scored()
    desk.destination.trouble = ArchiveError("the archive cannot be reached.")
    begun, tries = desk.clock.time, []
    while desk.state == SCORED:
        if desk.sending.step():
            tries.append(desk.clock.time - begun)
        desk.clock.time += 1
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits[:4] == [10, 20, 40, 60]
    assert set(waits[4:]) == {60}
    assert 3600 <= tries[-1] < 3660
    assert desk.state == FAILED
    assert [record for record in caplog.records if record.levelno == logging.ERROR and "Study 1 FAILED" in record.message]


def test_what_has_failed_is_taken_up_where_it_failed(desk: Desk) -> None:
    desk.scored()
    desk.destination.trouble = ArchiveError("no.")
    desk.clock.time += 3601
    desk.sending.step()
    assert desk.state == FAILED
    desk.destination.trouble = None
    assert desk.queue.retry_failed() == 1
    desk.sending.step()
    assert desk.state == SENT
    assert desk.destination.sent == ["one.dcm", "two.dcm"]


def test_a_result_that_may_be_there_is_asked_for_and_not_sent_twice(desk: Desk) -> None:
    desk.scored()
    desk.queue.mark_result("9.1", "sending")
    desk.destination.there.add("9.1")
    desk.sending.step()
    assert desk.destination.asked == ["9.1"]
    assert desk.destination.sent == ["two.dcm"]
    assert desk.state == SENT


def test_what_is_declined_again_and_again_counts_as_refused_but_no_room_never_does(desk: Desk) -> None:
    desk.scored()
    for trouble, tries in ((ArchiveError("no room."), 8), (Declined("did not take a result."), 4)):
        desk.destination.trouble = trouble
        for _ in range(tries):
            desk.sending.step()
            desk.clock.time += 60
            assert desk.state == SCORED
    desk.sending.step()
    assert desk.state == FAILED
    assert desk.reason == "did not take a result"


def test_scoring_that_fails_is_tried_again_but_not_for_ever(desk: Desk) -> None:
    desk.arrive()
    desk.failure = RuntimeError("Secret^Name")
    desk.clock.time += 31
    tries = 0
    while desk.state == RECEIVED:
        tries += desk.scoring.step()
        desk.clock.time += 60
        assert "Secret" not in desk.reason
    assert tries == 5
    assert (desk.state, desk.reason) == (FAILED, "RuntimeError")


def test_a_study_that_ends_the_process_every_time_does_not_stop_the_others(desk: Desk) -> None:
    desk.arrive("1.1", "1")
    desk.clock.time += 1
    desk.arrive("2.1", "2")
    for _ in range(5):
        desk.clock.time += 31
        job = desk.queue.take_up(30.0)
        assert job
        assert job.study == 1
        assert desk.queue.interrupted() == [1]
        desk.clock.time += 1
        desk.queue.file.run("UPDATE studies SET arrived = arrived - 1 WHERE id = 1")
    desk.clock.time += 31
    desk.scoring.step()
    assert {row[0]: row[2] for row in desk.queue.overview()} == {1: FAILED, 2: RECEIVED}
    assert "begun 5 times and never ended well" in next(row[4] for row in desk.queue.overview() if row[0] == 1)


def test_being_told_to_stop_is_no_attempt(desk: Desk) -> None:
    desk.arrive()
    desk.failure = KeyboardInterrupt()  # type: ignore[assignment]
    for _ in range(8):
        desk.clock.time += 31
        with pytest.raises(KeyboardInterrupt):
            desk.scoring.step()
    assert desk.state == RECEIVED


def test_new_objects_give_a_failed_study_another_chance(desk: Desk) -> None:
    desk.arrive()
    desk.clock.time += 31
    desk.scoring.step()
    assert (desk.state, desk.reason) == (FAILED, "no results could be made of it")
    desk.arrive("1.2")
    assert desk.state == RECEIVED


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_a_queue_that_cannot_be_used_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "queue.sqlite"
    if content:
        path.write_bytes(content)
    else:
        queue = StudyQueue(path)
        queue.file.run("PRAGMA user_version=99")
        queue.file.close()
    with pytest.raises(MedoodError, match="version 99, here 2" if content is None else "cannot be used as the queue"):
        StudyQueue(path)


def test_what_could_not_be_scored_is_still_said_when_the_rest_is_sent(desk: Desk) -> None:
    desk.arrive()
    desk.clock.time += 31
    job = desk.queue.take_up(30.0)
    assert job
    desk.queue.scored(job, [("9.1", Path("one.dcm"))], "1 series could not be scored")
    desk.sending.step()
    assert (desk.state, desk.reason) == (SENT, "1 series could not be scored")


def test_changes_that_fail_half_way_leave_nothing(desk: Desk) -> None:
    with suppress(ZeroDivisionError), desk.queue.file.change():
        desk.arrive()
        raise ZeroDivisionError
    assert desk.queue.overview() == []


def test_old_studies_are_forgotten_but_not_their_results(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.scored()
    desk.sending.step()
    (tmp_path / "work" / "1-1").mkdir()
    node = Node(configuration(tmp_path, stow={"url": "http://x/"}), desk.score)
    desk.clock.time += 29 * 86400
    node._housekeeping(desk.queue, desk.inbox)
    assert desk.state == SENT
    desk.clock.time += 2 * 86400
    node._housekeeping(desk.queue, desk.inbox)
    assert desk.queue.overview() == []
    assert not (tmp_path / "work" / "1-1").exists()
    assert desk.queue.is_result("9.1")


def test_the_log_is_the_nodes_own() -> None:
    assert log.name == "medood.node"
