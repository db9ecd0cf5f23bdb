"""The runs of a benchmark carried out by the workers of an engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from medood.benchmarking.job import Order
from medood.benchmarking.workers import Event
from medood.core.device import device_of_seat
from medood.core.errors import MedoodError
from medood.core.running.installed import differs, installed
from medood.engines.cluster import Cluster
from medood.engines.crew import Crew, Work
from medood.scoring.spread.parts import Parts, sees

_DEADLY = 2  # deaths of workers with a run, after which it has failed
_DIED = f"{_DEADLY} processes died while they worked on it; it may need more memory than there is."


@dataclass(frozen=True, repr=False)  # logs of the engine may quote it
class Turn:
    """The run `number` of a benchmark, and how many workers died with it."""

    number: int
    order: Order
    deaths: int = 0


@dataclass(frozen=True, repr=False)
class _Place:
    """Where the driver works: its medood, its folder for workers to look for and what that holds, its working directory."""

    medood: str
    folder: Path
    token: str
    here: Path


def carry_out_on(
    cluster: Cluster,
    orders: Sequence[Order],
    function: Callable[..., Any],
    device: str,
    show: Callable[[Event], None],
    warn: Callable[[str], None],
) -> Iterator[Event]:
    """As `work_through` does it here: what becomes of each order, by `function(order, 0, tell)`. `show` is told which are begun.

    Raises MedoodError when a worker cannot take part, or there is none any more.
    """
    lost: list[Event] = []

    def after_death(turn: Turn) -> list[Turn]:
        if turn.deaths + 1 < _DEADLY:
            return [replace(turn, deaths=turn.deaths + 1)]
        lost.append(Event(turn.number, "failed", _DIED))
        return []

    def turns() -> Iterator[Turn]:
        for number, order in enumerate(orders):
            show(Event(number, "begun"))
            yield Turn(number, order)

    parts = Parts(orders[0].out / "runs")
    parts.make()
    try:
        place = _Place(installed(), parts.folder, parts.token, Path.cwd())
        work = Work(partial(_examine, place), partial(_do, place, function, device), after_death)
        crew = Crew(cluster, work, warn, ahead=1)  # a run takes long: none waits where others have nothing to do
        crew.get_ready()
        for turn, (kind, value) in crew.carry_out(turns()):
            yield Event(turn.number, kind, value)
            yield from lost
            lost.clear()
        yield from lost
    finally:
        parts.remove_own()


def _examine(place: _Place, seat: int) -> str | None:
    if (why := differs(place.medood)) is not None:
        return why
    if not (sees(place.folder, place.token) and place.here.is_dir()):
        return f"it does not see {place.folder.parent.parent} and {place.here}: work in a folder on a file system that all workers share."
    return None


def _do(place: _Place, function: Callable[..., Any], device: str, turn: Turn, seat: int) -> tuple[str, Any]:
    """At the worker, in the driver's directory, which the paths of a benchmark start from."""
    order = replace(turn.order, devices=(str(device_of_seat(device, seat)),))
    before = Path.cwd()
    os.chdir(place.here)
    try:
        return "done", function(order, 0, _unheard)
    except (MedoodError, OSError) as error:
        return "failed", str(error)
    except Exception as error:  # a mistake of ours in one run must not cost the others
        return "failed", f"{type(error).__name__}: {error}"
    finally:
        os.chdir(before)


def _unheard(text: str) -> None:
    """How far a run is, nobody hears across machines; its log.txt says it."""
