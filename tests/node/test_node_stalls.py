"""What would hold a node up for long: answers that go astray, a history that grows, a log that nobody reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from node_trials import CT, associate, free_port, until
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from medood.node.archives.store_scu import StoreScu
from medood.node.config import Store
from medood.node.jobs import SENT, Arrival
from medood.node.study_queue import StudyQueue


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows whenever the own thread of an association that asks has looked for messages, and for the end of the association."""
    seen: list[None] = []

    def released(association: Association) -> bool:
        seen.append(None)
        return False

    monkeypatch.setattr("pynetdicom.acse.ACSE.is_release_requested", released)
    return seen


@pytest.fixture
def port():
    entity, port = AE("ARCHIVE"), free_port()
    entity.add_supported_context("1.2.840.10008.1.1")
    entity.add_supported_context(CT)
    server = entity.start_server(("127.0.0.1", port), block=False)
    yield port
    server.shutdown()


@pytest.mark.parametrize("who", ["node", "sender"])
def test_an_answer_waits_for_whoever_asked_however_late_that_thread_runs(port: int, looks: list[None], who: str) -> None:
    """The thread of the association looks again and again before the one that asked does: the order that a busy machine may choose."""
    if who == "node":
        with StoreScu(Store(host="127.0.0.1", port=port, called="ARCHIVE"))._association(CT, ["1.2.840.10008.1.2"]) as association:
            _check_that_it_waits(association, looks)
    else:
        _check_that_it_waits(associate(port, called="ARCHIVE"), looks)


def _check_that_it_waits(association: Association, looks: list[None]) -> None:
    assert association.is_established
    answer = (1, C_STORE())
    association.dimse.msg_queue.put(answer)
    begun = len(looks)
    try:
        until(lambda: len(looks) > begun + 3)
        assert association.dimse.peek_msg() is answer
        assert association.dimse.get_msg(block=True) is answer
    finally:
        association.abort()


def _steps(queue: StudyQueue, work: Callable[[], object]) -> int:
    """How much SQLite has to do for something, in tens of its instructions."""
    count = 0

    def one_more() -> int:
        nonlocal count
        count += 1
        return 0

    queue.file._file.set_progress_handler(one_more, 10)
    work()
    queue.file._file.set_progress_handler(None, 0)
    return count


def _work_of_a_study(folder: Path, deleted: int) -> int:
    """What a study of ten objects costs, from the first to their deletion, in a queue that remembers so many deleted ones."""
    folder.mkdir()
    queue = StudyQueue(folder / "queue.sqlite")
    with queue.file.change():
        for number in range(deleted):
            queue.add(Arrival(str(number % 4), "1.1", f"1.{number}", folder / f"{number}.dcm", 1, b"a"))
    queue.file.run("UPDATE objects SET present = 0, round = 1")
    queue.file.run("UPDATE studies SET state = ?", SENT)
    queue.stored = queue._stored()

    def study() -> None:
        for number in range(10):
            arrival = Arrival("new", "1.1", f"2.{number}", folder / f"new{number}.dcm", 1, b"a")
            assert not queue.known(arrival)
            queue.is_result(arrival.sop)
            queue.count_of(arrival.study)
            queue.add(arrival)
        job = queue.take_up(-1.0)
        assert job
        assert queue.scored(job, [("9.1", folder / "one.dcm")])
        parcel = queue.to_send()
        assert parcel
        assert queue.sent(parcel)
        files = queue.spent_files()
        assert len(files) == 10
        queue.forget_files(files)

    try:
        return _steps(queue, study)
    finally:
        queue.file.close()


def test_what_was_deleted_long_ago_costs_nothing(tmp_path: Path) -> None:
    """Deleting the files of a study keeps all senders waiting: it must not take longer from month to month."""
    few, many = _work_of_a_study(tmp_path / "few", 40), _work_of_a_study(tmp_path / "many", 2000)
    assert many < 1.5 * few


_TELLER = """
from medood.node.event_log import told_on_stderr
from medood.node.network import log
with told_on_stderr():
    for number in range({lines}):
        log.info("line %d %s", number, "x" * 100)
print("went on", flush=True)
"""


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", _TELLER.format(lines=20_000)], stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
        assert process.stdout
        assert process.stdout.read() == "went on\n"


def test_a_log_that_is_read_is_whole() -> None:
    done = subprocess.run([sys.executable, "-c", _TELLER.format(lines=500)], capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    assert len(lines) == 500
    assert [line.split()[4] for line in lines] == [str(number) for number in range(500)]
    assert done.stdout == "went on\n"
