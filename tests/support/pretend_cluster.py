"""An engine without processes: its workers call what they are given when somebody asks for answers, and die when they are told to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from medood.engines.cluster import Answer


class Death(SystemExit):
    """Raised by work, and caught by nobody on the way, it ends the worker that does it, which comes back under another address."""


class PretendCluster:
    """`before`: called with a worker's address before it does anything. `most`: how many pieces of work a worker has held at once."""

    def __init__(self, workers: int, before: Callable[[str], None] = lambda address: None) -> None:
        self.hands: dict[str, deque[tuple[int, Callable[[], Any]]]] = {}
        self.before, self.most, self.deaths = before, 0, 0
        self._ports = iter(range(1000, 100_000))
        for _ in range(workers):
            self.join()

    def join(self, host: str = "here") -> str:
        address = f"tcp://{host}:{next(self._ports)}"
        self.hands[address] = deque()
        return address

    def kill(self, address: str) -> None:
        self.deaths += 1
        del self.hands[address]

    def members(self) -> set[str]:
        return set(self.hands)

    def give(self, number: int, address: str, function: Callable[..., Any], *arguments: Any) -> None:
        if address in self.hands:
            self.hands[address].append((number, lambda: function(*arguments)))
            self.most = max(self.most, len(self.hands[address]))

    def answers(self, seconds: float) -> list[Answer]:
        return list(self._steps())

    def _steps(self) -> Iterator[Answer]:
        for address in list(self.hands):
            if not self.hands[address]:
                continue
            number, call = self.hands[address].popleft()
            try:
                self.before(address)
                yield Answer(number, call())
            except Death:
                self.kill(address)
                self.join()
            except Exception as error:
                yield Answer(number, error=error)

    def take_back(self, number: int) -> None:
        for waiting in self.hands.values():
            for item in [item for item in waiting if item[0] == number]:
                waiting.remove(item)
