"""The side that deals out units, and puts the rows of their part files into scores.csv and the maps into their list."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.volume import Entry, Index, Problem
from medood.engines.cluster import Cluster
from medood.engines.crew import Crew, Work
from medood.scoring.map_folder import MapFolder
from medood.scoring.rows import failed_row
from medood.scoring.spread.parts import Part, Parts, read_part
from medood.scoring.spread.units import Unit, images_in_unit, units_of
from medood.scoring.spread.worker import Plan, examine, score_unit
from medood.scoring.stream import Outcome, add_problems
from medood.scoring.table import ScoreTable

_DEADLY = 2  # deaths of workers with an entry, after which it is not tried again
_CUT_SHORT = 3  # part files of one unit that turn out damaged, after which the file system is to blame
_DIED = (
    f"{_DEADLY} processes died while they had it. It may be too large for their memory, or crash a library that reads it: "
    "score it alone with --engine local."
)


class Spread:
    """A scoring by the workers of a cluster."""

    def __init__(self, cluster: Cluster, plan: Plan, parts: Parts, console: Console) -> None:
        self._parts, self._console = parts, console
        self._crew = Crew(cluster, Work(partial(examine, plan), partial(score_unit, plan), self._after_death), console.warn)
        self._ended: deque[str] = deque()
        self._workers = 1

    def get_ready(self) -> None:
        """Raises MedoodError when a worker cannot take part; then nothing is left behind."""
        self._parts.make()
        try:
            self._workers = self._crew.get_ready()
        except BaseException:
            self._parts.remove_own()
            raise
        self._console.say(f"Scoring with {self._workers} workers.")

    def score(self, index: Index, batch_size: int, table: ScoreTable, maps: MapFolder | None, outcome: Outcome) -> None:
        """Rows for every entry and problem that `table` does not have yet, in the order in which they come, and their maps."""
        self._table, self._maps, self._outcome, self._root = table, maps, outcome, index.root
        add_problems(index, table, outcome)
        known = self._take_over()
        number = images = 0
        for entry in _waiting(index, table, known):
            number, images = number + 1, images + entry.slices
        size = images_in_unit(images, self._workers, batch_size)
        units = units_of(_waiting(index, table, known), size, maps.name_of if maps else None)
        for _ in self._console.track(self._merged(units), "Scoring", number):
            pass

    def _merged(self, units: Iterator[Unit]) -> Iterator[str]:
        """Ids as their rows come in."""
        for unit, _ in self._crew.carry_out(units):
            self._merge(unit)
            while self._ended:
                yield self._ended.popleft()
        yield from self._ended

    def _take_over(self) -> set[str]:
        """Put what an earlier driver was handed before it was stopped into the table; returns the ids."""
        taken: set[str] = set()
        for path in self._parts.earlier():
            if (part := read_part(path)) is not None:
                fresh = [scores for scores in part.scores if not self._table.holds(scores.id) and scores.id not in taken]
                self._add(Part(fresh, part.counts if len(fresh) == len(part.scores) else {}, part.seconds))
                taken |= {scores.id for scores in fresh}
        self._parts.forget_earlier()
        self._ended.clear()
        return taken

    def _merge(self, unit: Unit) -> None:
        """Take over a part file; one that is cut short is made again."""
        path = self._parts.of(unit.name)
        part = read_part(path)
        if part is not None:
            self._add(part)
            path.unlink(missing_ok=True)
        elif unit.written + 1 < _CUT_SHORT:
            self._crew.again(unit.again())
        else:
            raise MedoodError(f"Part files in {path.parent} are damaged again and again: check the disk, then go on with --resume.")

    def _add(self, part: Part) -> None:
        """Maps before rows: an entry with rows is complete."""
        for scores in part.scores:
            if self._maps is not None and scores.line is not None:
                self._maps.enter(scores.line)
            self._table.add(scores.rows)
            self._outcome.rows += len(scores.rows)
            self._ended.append(scores.id)
        self._table.sync()
        self._outcome.count(part.counts, part.seconds)

    def _after_death(self, unit: Unit) -> list[Unit]:
        """What remains of a unit whose worker died: nothing if it was finished, nor of an entry that was there when others died."""
        if read_part(self._parts.of(unit.name)) is not None:
            self._merge(unit)
            return []
        alone = unit.split()
        if len(alone) > 1 or alone[0].deaths < _DEADLY:
            return alone
        self._refuse(unit.entries[0])
        return []

    def _refuse(self, entry: Entry) -> None:
        self._table.add([failed_row(entry, Problem(entry.id, "worker_died", _DIED), self._root)])
        self._table.sync()
        self._outcome.rows += 1
        self._ended.append(entry.id)


def _waiting(index: Index, table: ScoreTable, known: set[str]) -> Iterator[Entry]:
    """Entries that are neither in the table nor among the ids that were taken over."""
    return (entry for entry in index.entries if not table.has(entry) and entry.id not in known)
