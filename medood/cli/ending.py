"""How a command ends: its exit status, and the one sentence that says why; and how it warns on the way."""

from __future__ import annotations

from errno import ENOSPC
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from medood.core.errors import MedoodError
from medood.core.running.termination import Terminated, end_undisturbed
from medood.core.running.torchrun import speaks_first

SOME_FAILED = 3
"""Exit status of a command that finished, but met files that could not be scored or read."""

INTERRUPTED, TERMINATED = 130, 143
"""Exit statuses after Ctrl-C and SIGTERM: 128 and the number of the signal, as shells and schedulers expect."""

_RESUMES = " The same command with --resume goes on from there."
_GOES_ON = {
    "index": " The same command goes on from there.",
    "train": _RESUMES,
    "score": _RESUMES,
    "benchmark": " The same command goes on from there.",
}


class Commands(TyperGroup):
    """Turns what the user can mend into one sentence, and Ctrl-C and SIGTERM into a quiet end."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MedoodError as error:
            _say(f"Error: {error}", "red")
            raise typer.Exit(2) from None
        except OSError as error:
            if error.filename is None and error.errno != ENOSPC:
                raise
            _say(f"Error: {error.filename or 'The disk'}: {error.strerror}.", "red")
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            end_undisturbed()
            again = _GOES_ON.get(ctx.invoked_subcommand, "")
            _say(f"Stopped. What was finished is on disk.{again}", "yellow")
            raise typer.Exit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED) from None


def say_warning(sentence: str) -> None:
    _say(sentence, "yellow")


def end_with_some_failed(sentence: str) -> NoReturn:
    """The command is done, but for what the sentence says."""
    typer.secho(sentence, fg="yellow", err=True)
    raise typer.Exit(SOME_FAILED)


def _say(sentence: str, colour: str) -> None:
    """Once, however many processes say it."""
    if speaks_first():
        typer.secho(sentence, fg=colour, err=True)
