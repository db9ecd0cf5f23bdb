"""What was read of a file's header before: sources ask here first, and nobody above them has to know.

A source asks questions of single files: what kind it is, how many slices it has, what its DICOM header says. Without a memory each question
opens the file. `remembering` gives the sources below it a memory, which answers what it knows of a file that has not changed, and sees
every answer that it does not know yet. What sources make of the answers is theirs alone, so it is the same with a memory and without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from medood.core.errors import InputError

Question = Literal["kind", "image", "nifti", "label_map", "dicom", "content"]
Token = Callable[[str], str]
"""From a text that may name a person to one that does not, and that is the same for the same text; empty stays empty."""

T = TypeVar("T")


class Memory(Protocol):
    """Answers are plain values, fit for JSON."""

    @property
    def token(self) -> Token: ...

    def get(self, question: Question, path: Path) -> Any:
        """The answer, None when it is not known or the file has changed since."""
        ...

    def put(self, question: Question, path: Path, answer: Any) -> None: ...


@dataclass(frozen=True)
class Plain(Generic[T]):
    """How a value becomes plain and comes back; `name` is the file's path as the user should see it."""

    encode: Callable[[T, Token], Any] = lambda value, token: value
    decode: Callable[[Any, Path, str], T] = lambda value, path, name: value


AS_IT_IS: Plain[Any] = Plain()
_memory: ContextVar[Memory | None] = ContextVar("memory", default=None)


@contextmanager
def remembering(memory: Memory) -> Iterator[None]:
    before = _memory.set(memory)
    try:
        yield
    finally:
        _memory.reset(before)


def recall(question: Question, path: Path, name: str, ask: Callable[[], T], plain: Plain[T] = AS_IT_IS) -> T:
    """What `ask` returns or the InputError that it raises, from the memory if that knows."""
    memory = _memory.get()
    if memory is None:
        return ask()
    answer = memory.get(question, path)
    if answer is None:
        answer = _asked(ask, plain, memory.token, name)
        memory.put(question, path, answer)
    if "error" in answer:
        code, message = answer["error"]
        raise InputError(f"{name}: {message}", code)
    return plain.decode(answer["value"], path, name)


def _asked(ask: Callable[[], T], plain: Plain[T], token: Token, name: str) -> dict[str, Any]:
    try:
        return {"value": plain.encode(ask(), token)}
    except InputError as error:
        return {"error": [error.code, str(error).removeprefix(f"{name}: ")]}
