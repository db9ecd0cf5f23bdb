"""What a library must offer to be an engine: a list of workers, and ways to give each of them work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

KEPT = "What was finished is kept: the same command goes on from there (`medood score` with --resume)."


@dataclass(frozen=True)
class Answer:
    """What became of a piece of work: what its function returned, or raised, or that its worker `died` before it could say."""

    number: int
    result: Any = None
    error: BaseException | None = None
    died: bool = False


class Cluster(Protocol):
    """Workers by their addresses. All that raises because the cluster itself is gone raises MedoodError."""

    def members(self) -> set[str]:
        """The workers that are there now. One that was started again has another address."""
        ...

    def give(self, number: int, address: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Let this worker, and no other, call the function after what it was given before. Returns at once."""
        ...

    def answers(self, seconds: float) -> list[Answer]:
        """What has ended since the last call; waits for the first for so long at most."""
        ...

    def take_back(self, number: int) -> None:
        """Nobody waits for this any more. A worker that is at it may still finish it."""
        ...
