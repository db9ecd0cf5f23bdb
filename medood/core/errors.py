"""What medood raises. Every message says what is wrong, what was expected, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 20  # mistakes of a table in one message


class MedoodError(Exception):
    """Something the user can mend; the command line prints the message without a traceback."""


class MedoodWarning(UserWarning):
    """Something of a result that the user has to know before relying on it; the command line prints the message alone."""


class InputError(MedoodError):
    """A file or folder that cannot be used as it is.

    `code` is a short stable word (interop issue codes such as `no_image`), fit for a CSV column.
    """

    def __init__(self, message: str, code: str = "unreadable") -> None:
        super().__init__(message)
        self.code = code


class RecipeError(MedoodError):
    """All the mistakes of a recipe or transforms file at once, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class TableError(InputError):
    """All the mistakes of a table at once, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        shown = list(problems[:_SHOWN])
        more = [f"... and {len(problems) - _SHOWN} more mistakes."] if len(problems) > _SHOWN else []
        super().__init__("\n".join(shown + more), "table")
        self.problems = tuple(problems)


class RunError(MedoodError):
    """A run folder that is incomplete or was altered."""


class NotFitted(MedoodError):
    """A detector was asked for scores before it was trained."""


class CalibrationError(MedoodError):
    """Too few held-out normal images for the false-alarm rate asked for."""


class TrainingError(MedoodError):
    """Training cannot go on: the loss is not a number, or there is nothing to train on."""


class ProcessLost(TrainingError):
    """Another process of the training has ended, so that this one cannot go on."""


class ResumeError(TrainingError):
    """A training cannot be resumed as asked; what is there stays as it is."""
