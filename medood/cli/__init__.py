"""The command line, `medood`: which commands there are, in the order of `medood --help`.

Each is a function, in the module of its group, whose annotations are its arguments and options and whose docstring is its help. Its body
imports its task, calls it and prints; nothing heavy is imported before that.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Annotated

import typer

from medood import __version__
from medood.cli import deployment, images, judging, looking, reference, scoring, training
from medood.cli.cache import caches
from medood.cli.ending import Commands, say_warning
from medood.cli.recipe import recipes
from medood.core.running.memory import keep_freed_memory
from medood.core.running.termination import unwind_when_terminated
from medood.core.running.torchrun import check_alone
from medood.core.running.waiting_threads import let_waiting_threads_sleep
from medood.core.running.warned import warnings_said

COMMANDS = (
    *(training.train, training.pretrain),
    *(scoring.score, scoring.gate),
    *(looking.overlay, deployment.dicom, deployment.export, deployment.node),
    *(judging.evaluate, looking.report, judging.benchmark, judging.blind_spot),
    *(training.advise, looking.plot),
    *(images.inspect, images.index, images.labels, images.phantoms),
    *(reference.doctor, reference.detectors, reference.features, reference.sources, reference.steps),
)

app = typer.Typer(
    cls=Commands,
    help="Find what is abnormal in medical images with detectors that have seen normal images only.\n\n"
    "Exit status: 0 done, 2 refused with a sentence, 3 done but for some files or runs, 130 stopped with Ctrl-C, 143 by SIGTERM. "
    "However it is stopped, what was finished is on disk, and nothing half-written is left.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(recipes, name="recipe")
app.add_typer(caches, name="cache")
for group in (app, recipes, caches):
    for info in group.registered_commands:  # the terminal breaks their lines, where typer would keep those of the source
        info.help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(info.callback) or "")


@app.callback(invoke_without_command=True)
def _first(ctx: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"medood {__version__}")
        raise typer.Exit
    check_alone(ctx.invoked_subcommand)


def main() -> None:
    keep_freed_memory()
    let_waiting_threads_sleep()
    unwind_when_terminated()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a Windows console may not know every character of a path
            stream.reconfigure(errors="replace")
    with warnings_said(say_warning):
        app()
