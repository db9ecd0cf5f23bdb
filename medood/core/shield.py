"""Stands between a foreign library and the rest: whatever it raises on one file becomes an InputError, so that no file ends a folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType

from medood.core.errors import InputError, MedoodError

# What a person or the interpreter wants to stop passes, and what medood says itself.
_PASSES = (KeyboardInterrupt, SystemExit, GeneratorExit, MedoodError)

Refusal = Callable[[BaseException], InputError]


class shield(ContextDecorator):
    """Runs a block; what it raises becomes the InputError that `refusal` makes of it.

    ```
    with shield(name, lambda error: InputError(f"{name}: the header is damaged ({kind_of(error)}).", "unreadable")):
        header = library.read(path)
    ```
    name     what the user knows the file or entry by; used where there is not enough memory, which is nobody's fault
    refusal  from the error to what the user reads; without one the sentence says that `name` cannot be read, and the kind of the error

    Panics of Rust libraries, which are no Exceptions, are caught like everything else. KeyboardInterrupt, SystemExit, GeneratorExit and
    medood's own errors pass. The InputError does not carry the error along: the words of libraries quote headers, patients among them.
    """

    def __init__(self, name: str, refusal: Refusal | None = None) -> None:
        self.name = name
        self.refusal = refusal

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or isinstance(error, _PASSES):
            return
        try:
            raise self._refused(error)
        except InputError as refused:
            refused.__context__ = None  # else a traceback would show what the library said
            raise

    def _refused(self, error: BaseException) -> InputError:
        if isinstance(error, MemoryError):
            message = "there is not enough memory to read it. Close other programs, or check that the file is whole."
            return InputError(f"{self.name}: {message}", "out_of_memory")
        if self.refusal is not None:
            return self.refusal(error)
        return InputError(f"{self.name}: it cannot be read ({kind_of(error)}). Copy or export it again.", f"unreadable:{kind_of(error)}")


def kind_of(error: BaseException) -> str:
    """The name of an error's class: all that may be told of an error whose words may name a patient."""
    return type(error).__name__
