"""Units dealt out to workers that come, go and die, without any process: who gets what, and what happens to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pretend_cluster import Death, PretendCluster

from medood.core.errors import MedoodError
from medood.engines import crew as module
from medood.engines.crew import AHEAD, Crew, Work


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.0)


@dataclass(frozen=True)
class Batch:
    """Numbers that are worked on together; `deaths` of workers that held them."""

    numbers: tuple[int, ...]
    deaths: int = 0


class Place:
    """A crew that works on batches of numbers; some of these kill who works on them."""

    def __init__(self, workers: int, *, poison: Iterable[int] = (), **options: Any) -> None:
        self.cluster, self.poison = PretendCluster(workers), set(poison)
        self.begun: Counter[int] = Counter()
        self.given_up: list[int] = []
        self.seats: list[int] = []
        self.unfit: dict[int, str] = {}
        self.said: list[str] = []
        self.crew = Crew(self.cluster, Work(self.examine, self.do, self.after_death), self.said.append, **options)

    def examine(self, seat: int) -> str | None:
        self.seats.append(seat)
        return self.unfit.get(seat)

    def do(self, batch: Batch, seat: int) -> int:
        self.begun.update(batch.numbers)
        if self.poison & set(batch.numbers):
            raise Death
        return sum(batch.numbers)

    def after_death(self, batch: Batch) -> list[Batch]:
        if len(batch.numbers) == 1 and batch.deaths + 1 >= 2:
            self.given_up += batch.numbers
            return []
        return [Batch((number,), batch.deaths + 1) for number in batch.numbers]

    def work(self, batches: Iterable[Batch]) -> list[int]:
        """Numbers in the order in which they were done; every result is checked."""
        done = []
        for batch, result in self.crew.carry_out(batches):
            assert result == sum(batch.numbers)
            done += batch.numbers
        return done


def batches(count: int, size: int = 5) -> Iterator[Batch]:
    return (Batch(tuple(range(start, start + size))) for start in range(0, count, size))


def test_everything_is_done_once_and_units_are_made_when_they_are_wanted() -> None:
    place, made = Place(3), 0

    def counted() -> Iterator[Batch]:
        nonlocal made
        for batch in batches(20_000):
            made += 1
            yield batch

    assert place.crew.get_ready() == 3
    ahead = []
    for done, _ in enumerate(place.crew.carry_out(counted()), 1):
        ahead.append(made - done)
    assert made == 4000
    assert max(ahead) <= 3 * AHEAD
    assert place.cluster.most == AHEAD
    assert set(place.begun.values()) == {1}


def test_who_kills_twice_is_found_and_nobody_else_is_blamed() -> None:
    place = Place(2, poison=[7, 8, 33])
    place.crew.get_ready()
    done = place.work(batches(50))
    assert sorted(place.given_up) == [7, 8, 33]
    assert sorted(done) == sorted(set(range(50)) - {7, 8, 33})
    assert [place.begun[number] for number in (7, 8, 33)] == [2, 2, 2]
    assert place.cluster.deaths == 5  # two batches, then three numbers by themselves


@pytest.mark.parametrize("seed", range(5))
def test_whatever_dies_or_joins_nothing_is_lost_and_nothing_done_twice(seed: int) -> None:
    chance = random.Random(seed)
    place = Place(3)

    def fate(address: str) -> None:
        if chance.random() < 0.1:
            raise Death
        if chance.random() < 0.02:
            place.cluster.join(chance.choice(["here", "there"]))
        elif chance.random() < 0.02 and len(place.cluster.hands) > 2:
            place.cluster.kill(next(other for other in place.cluster.hands if other != address))

    place.cluster.before = fate
    place.after_death = lambda batch: [Batch((number,), batch.deaths + 1) for number in batch.numbers]
    place.crew = Crew(place.cluster, Work(place.examine, place.do, place.after_death), place.said.append)
    assert sorted(place.work(batches(300))) == list(range(300))


def test_a_late_worker_is_examined_and_then_works() -> None:
    place, helped = Place(1), []
    place.crew.get_ready()

    def joining() -> Iterator[Batch]:
        for number, batch in enumerate(batches(100)):
            if number == 5:
                helped.append(place.cluster.join("there"))
            yield batch

    worked: Counter[str] = Counter()
    place.cluster.before = lambda address: worked.update([address])
    assert sorted(place.work(joining())) == list(range(100))
    assert worked[helped[0]] > 5
    assert place.seats == [0, 0]  # each the first of its host


def test_seats_are_counted_by_host_and_taken_again() -> None:
    place = Place(3)
    place.crew.get_ready()
    assert sorted(place.seats) == [0, 1, 2]
    gone = place.crew._mates[sorted(place.cluster.hands)[1]]
    place.cluster.kill(gone.address)
    place.cluster.join()
    place.work(batches(50))
    assert place.seats[3:] == [gone.seat]


def test_an_unfit_worker_is_told_of_before_work_starts() -> None:
    place = Place(3)
    place.unfit = {1: "it has no run at /run."}
    with pytest.raises(MedoodError, match=r"The worker tcp://here:1001 cannot take part: it has no run at /run\."):
        place.crew.get_ready()
    assert not place.begun


def test_an_unfit_worker_that_comes_late_gets_no_work() -> None:
    place, worked = Place(1), []
    place.crew.get_ready()
    late = place.cluster.join()
    place.unfit = {1: "it has no run."}
    place.cluster.before = worked.append
    assert sorted(place.work(batches(50))) == list(range(50))
    assert worked.count(late) == 1  # its examination
    assert place.said == [f"The worker {late} is left out: it has no run."]


def test_a_worker_that_fails_gets_no_more_and_others_do_what_it_had() -> None:
    place = Place(2)
    place.crew.get_ready()
    bad = sorted(place.cluster.hands)[0]

    def broken(address: str) -> None:
        if address == bad:
            raise MedoodError("its disk is full.")

    place.cluster.before = broken
    assert sorted(place.work(batches(50))) == list(range(50))
    assert place.said == [f"The worker {bad} is left out: its disk is full."]


def test_an_unfit_worker_does_not_end_it_while_a_good_one_is_started_again() -> None:
    place, looks = Place(1), 0
    place.crew.get_ready()
    place.unfit = {1: "it has no run."}
    place.cluster.join()

    def leaving() -> Iterator[Batch]:
        for number, batch in enumerate(batches(50)):
            if number == 4:
                place.cluster.kill(sorted(place.cluster.hands)[0])
            yield batch

    def looked() -> set[str]:
        nonlocal looks
        if len(place.cluster.hands) == 1:
            looks += 1
            if looks == 4:  # the other one was left out; this one gets the seat of the one that died
                place.cluster.join()
        return set(place.cluster.hands)

    place.cluster.members = looked
    assert sorted(place.work(leaving())) == list(range(50))
    assert len(place.said) == 1


def test_when_all_have_failed_the_reason_is_said() -> None:
    place = Place(2, patience=0.01)
    place.crew.get_ready()

    def broken(address: str) -> None:
        raise ModuleNotFoundError("medood")

    place.cluster.before = broken
    with pytest.raises(MedoodError, match=r"no medood, or another one.*--resume"):
        place.work(batches(50))


def test_a_cluster_without_workers_is_not_waited_for_for_ever() -> None:
    with pytest.raises(MedoodError, match="no worker for 0 seconds"):
        Place(0, patience=0.01).crew.get_ready()


def test_work_goes_on_when_all_workers_died_and_others_came() -> None:
    place = Place(1)
    place.crew.get_ready()
    empty = 0

    def leaving() -> Iterator[Batch]:
        for number, batch in enumerate(batches(50)):
            if number == 3:
                place.cluster.kill(next(iter(place.cluster.hands)))
            yield batch

    def looked() -> set[str]:
        nonlocal empty
        empty += not place.cluster.hands
        if empty == 3:
            place.cluster.join()
            empty += 1
        return set(place.cluster.hands)

    place.cluster.members = looked
    assert sorted(place.work(leaving())) == list(range(50))


def test_workers_that_die_while_they_load_are_not_hoped_for() -> None:
    place = Place(1)

    def dies(address: str) -> None:
        raise Death

    place.cluster.before = dies
    with pytest.raises(MedoodError, match="die while they get ready"):
        place.crew.get_ready()
    assert place.cluster.deaths == 3
