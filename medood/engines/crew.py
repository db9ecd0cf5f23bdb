"""Units of work dealt out to workers that come, go and die: nothing is lost, nobody has more than two, who kills twice is found."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from medood.core.errors import MedoodError
from medood.core.shield import kind_of
from medood.engines.cluster import KEPT, Answer, Cluster

AHEAD = 2
"""Units that a worker holds unless it is said otherwise: the one it works on, and the next, so that it need not wait for us."""

_LOOK = 0.5  # seconds between two looks at who is there
_RESTART = 30.0  # seconds in which a worker that died is there again, if those that are left cannot take part
_DEATHS = 3  # of workers while they get ready, one after another, before nobody believes in them any more


@dataclass(frozen=True)
class Work:
    """What a crew does. `examine` and `do` are called by workers, one at a time: functions at the top of a module, or partials of them.

    examine      whether a worker can take part at all, given its seat; what it returns is a sentence on why it cannot, or None
    do           one unit, given the unit and the worker's seat. What it raises speaks against the worker, which gets no more
    after_death  in this process: the units to try instead of one that was with a worker that died; each is then given to a worker that
                 has nothing else
    A seat is the number of a worker among those of its host, from 0.
    """

    examine: Callable[[int], str | None]
    do: Callable[[Any, int], Any]
    after_death: Callable[[Any], Iterable[Any]]


@dataclass(eq=False)
class _Mate:
    address: str
    seat: int
    ready: bool = False
    alone: bool = False
    holds: dict[int, Any] = field(default_factory=dict)


class Crew:
    """The workers of a cluster at one kind of work.

    warn  is told whom it goes on without;  ahead  units that a worker holds at most;  patience  seconds to wait for a worker
    """

    def __init__(self, cluster: Cluster, work: Work, warn: Callable[[str], None], *, ahead: int = AHEAD, patience: float = 300.0) -> None:
        self.cluster, self.work, self.warn, self.ahead, self.patience = cluster, work, warn, ahead, patience
        self._mates: dict[str, _Mate] = {}
        self._at: dict[int, _Mate] = {}
        self._unfit: dict[str, str] = {}
        self._returned: deque[Any] = deque()
        self._suspects: deque[Any] = deque()
        self._numbers = count()
        self._deaths, self._looked, self._hopeful = 0, 0.0, time.monotonic()

    def get_ready(self) -> int:
        """Wait until every worker that is there was examined; returns how many.

        Raises MedoodError when one of them cannot take part, or when none comes.
        """
        self._look_round()
        while not self._mates or not all(mate.ready for mate in self._mates.values()):
            for answer in self.cluster.answers(_LOOK):
                self._examined(answer)
            if self._unfit:
                raise MedoodError(_refusal(self._unfit))
            self._look_round()
            self._check_hope()
        return len(self._mates)

    def carry_out(self, units: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Every unit with what `do` returned for it, in the order in which they end; `units` are taken when somebody can do them.

        Raises MedoodError when there is nobody left who could.
        """
        fresh = iter(units)
        while True:
            self._look_round()
            self._check_hope()
            self._deal(fresh)
            if not any(mate.holds for mate in self._mates.values()) and not self._returned and not self._suspects:
                first = next(fresh, None)
                if first is None:
                    return
                self._returned.append(first)
            for answer in self.cluster.answers(_LOOK):
                yield from self._heard(answer)

    def again(self, unit: Any) -> None:
        """A unit that `carry_out` has yielded is to be done once more."""
        self._returned.append(unit)

    def _look_round(self) -> None:
        """Bury who is gone, examine who is new."""
        if time.monotonic() - self._looked < _LOOK and self._mates:
            return
        members = self.cluster.members()
        for address in self._mates.keys() - members:
            self._bury(self._mates.pop(address))
        for address in self._unfit.keys() - members:
            del self._unfit[address]
        for address in sorted(members - self._mates.keys() - self._unfit.keys()):
            mate = self._mates[address] = _Mate(address, self._free_seat(address))
            self._give(mate, None, self.work.examine, mate.seat)
        self._looked = time.monotonic()

    def _free_seat(self, address: str) -> int:
        taken = {mate.seat for mate in self._mates.values() if _host(mate.address) == _host(address)}
        return next(seat for seat in count() if seat not in taken)

    def _deal(self, fresh: Iterator[Any]) -> None:
        """Fill every worker's hands; suspects come last, each to a worker of its own."""
        for mate in self._mates.values():
            while mate.ready and not mate.alone and len(mate.holds) < self.ahead:
                unit = self._returned.popleft() if self._returned else next(fresh, None)
                if unit is None and self._suspects and not mate.holds:
                    unit, mate.alone = self._suspects.popleft(), True
                if unit is None:
                    break
                self._give(mate, unit, self.work.do, unit, mate.seat)

    def _give(self, mate: _Mate, unit: Any, function: Callable[..., Any], *arguments: Any) -> None:
        number = next(self._numbers)
        if unit is not None:
            mate.holds[number] = unit
        self._at[number] = mate
        self.cluster.give(number, mate.address, function, *arguments)

    def _heard(self, answer: Answer) -> Iterator[tuple[Any, Any]]:
        mate = self._at.get(answer.number)
        if mate is None:  # taken back meanwhile
            return
        if answer.number not in mate.holds:
            self._examined(answer)
        elif answer.died:
            self._bury(self._mates.pop(mate.address))
        elif answer.error is not None:
            self._leave_out(mate, _sentence(answer.error))
        else:
            del self._at[answer.number]
            unit, mate.alone = mate.holds.pop(answer.number), False
            yield unit, answer.result

    def _examined(self, answer: Answer) -> None:
        mate = self._at.pop(answer.number, None)
        if mate is None:
            return
        if answer.died:
            self._bury(self._mates.pop(mate.address))
            return
        why = answer.result if answer.error is None else _sentence(answer.error)
        if why is not None:
            self._leave_out(mate, why)
            return
        mate.ready, self._deaths = True, 0

    def _leave_out(self, mate: _Mate, why: str) -> None:
        self._unfit[mate.address] = why
        del self._mates[mate.address]
        self._returned.extend(mate.holds.values())
        self._take_back(mate)
        if self._mates:
            self.warn(f"The worker {mate.address} is left out: {why}")

    def _bury(self, mate: _Mate) -> None:
        """What it held is tried again: by itself, for any of it may have killed it."""
        self._deaths += not mate.ready
        held = list(mate.holds.values())
        self._take_back(mate)
        for unit in held:
            self._suspects.extend(self.work.after_death(unit))

    def _take_back(self, mate: _Mate) -> None:
        for number in [number for number, at in self._at.items() if at is mate]:
            del self._at[number]
            self.cluster.take_back(number)
        mate.holds.clear()

    def _check_hope(self) -> None:
        """Raises MedoodError when no worker is there, or will be."""
        ready = any(mate.ready for mate in self._mates.values())
        if self._deaths >= _DEATHS and not ready:
            raise MedoodError(f"Workers die while they get ready, perhaps for want of memory: see their logs. {KEPT}")
        if self._mates:
            self._hopeful = time.monotonic()
        waited = time.monotonic() - self._hopeful
        if self._unfit and waited > min(_RESTART, self.patience):
            raise MedoodError(f"{_refusal(self._unfit)} {KEPT}")
        if waited > self.patience:
            raise MedoodError(f"The cluster has had no worker for {self.patience:.0f} seconds: start workers. {KEPT}")


def _refusal(unfit: dict[str, str]) -> str:
    address, why = next(iter(unfit.items()))
    others = f" So it is with {len(unfit) - 1} more, or something else is wrong there." if len(unfit) > 1 else ""
    return f"The worker {address} cannot take part: {why}{others}"


def _sentence(error: BaseException) -> str:
    if isinstance(error, MedoodError):
        return str(error)
    if isinstance(error, (ModuleNotFoundError, AttributeError)):
        return "it has no medood, or another one: install the same medood on every worker."
    return f"it failed ({kind_of(error)}); its log says more."


def _host(address: str) -> str:
    return address.rpartition(":")[0]
