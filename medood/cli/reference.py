"""`doctor`, `detectors`, `features`, `sources` and `steps`: what there is, and what this installation can do."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor() -> None:
    """List the devices and, for every DICOM transfer syntax, the decoders that are installed."""
    from medood.tasks.reference.doctor import print_report

    print_report()


def detectors(name: Annotated[str | None, typer.Argument(help="One detector, with its parameters.", show_default=False)] = None) -> None:
    """List the detectors, or explain one."""
    from medood.tasks.reference.listing import print_cards

    print_cards("detectors", name)


def features(
    name: Annotated[str | None, typer.Argument(help="One of them, with its parameters.", show_default=False)] = None,
) -> None:
    """List the networks and hand-made features that detectors can work on, or explain one."""
    from medood.tasks.reference.listing import print_cards

    print_cards("features", name)


def sources(name: Annotated[str | None, typer.Argument(help="One source, with its parameters.", show_default=False)] = None) -> None:
    """List the sources, that is the kinds of folders and cohorts that can be read, or explain one."""
    from medood.tasks.reference.listing import print_cards

    print_cards("sources", name)


def steps(name: Annotated[str | None, typer.Argument(help="One step, with its parameters.", show_default=False)] = None) -> None:
    """List the steps that transforms files and `augment` are made of, or explain one."""
    from medood.tasks.reference.listing import print_cards

    print_cards("steps", name)
