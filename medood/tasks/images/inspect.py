"""What is in a folder, how it will be grouped, and what cannot be used and why."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medood.core.errors import MedoodError
from medood.core.issue_codes import explained
from medood.core.volume import Entry, Index, Problem
from medood.data.found import check_found
from medood.data.opening import open_source
from medood.data.patients import EACH_ITS_OWN, patients_in_names, unnamed
from medood.index.finding import found_by
from medood.tasks.images.from_archive import Images, joined, of_patient

_EXAMPLES = 5  # of every kind of problem


def inspect_images(images: Images, source: str, table: str | None, as_json: bool, index_file: str | None = None) -> None:
    """Print what there is, or what its index says. Raises MedoodError, once it is printed, when there is nothing that could be read."""
    if not images.folder.exists():
        raise MedoodError(f"There is no folder {images.folder}.")
    parameters = {"csv": table} if table else {}
    with ExitStack() as kept_open:
        found = []
        for patient in images.steps:
            reader = open_source(source, images.folder, **parameters)
            found.append(of_patient(kept_open.enter_context(found_by(reader, images.folder, index_file)), patient))
        index = joined(found, images.folder)
        if as_json:
            _print_json(index)
        else:
            _print(index)
        check_found(index)


def _print_json(index: Index) -> None:
    """One entry and problem at a time; no pixels were read and no identifier of a person is in it."""
    print("{")
    for key, values in (("entries", map(_plain, index.entries)), ("problems", map(asdict, index.problems))):
        print(f' "{key}": [', end="")
        for number, value in enumerate(values):
            print(("," if number else "") + "\n  " + json.dumps(value, indent=1).replace("\n", "\n  "), end="")
        print("\n ],")
    print(f' "patients": {len({e.group for e in index.entries})},\n "images": {sum(e.slices for e in index.entries)}\n}}')


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "group": entry.group,
        "slices": entry.slices,
        "files": len(entry.files),
        "modality": entry.origin.modality,
        "series_uid": entry.origin.series_uid,
        "label": entry.label,
        "part": entry.part,
        "issues": list(entry.issues),
    }


def _print(index: Index, most: int = 40) -> None:
    console = Console(highlight=False, markup=False)  # a folder may be called [/b]
    if index.entries:
        console.print(_entries_table(index, most))
    if len(index.entries) > most:
        console.print(f"... and {len(index.entries) - most} more; --json lists all.")
    patients = len({e.group for e in index.entries})
    count = sum(e.slices for e in index.entries)
    console.print(f"\nSeries or single images: {len(index.entries)}; images in them: {count}; patients: {patients}.")
    for warning in patients_in_names(index.entries) or _unnamed(index):
        console.print(Text(warning))
    _print_issues(index, console)
    _print_problems(index, console)


def _entries_table(index: Index, most: int) -> Table:
    """A column only for what differs or is there."""
    first = list(islice(index.entries, most))
    shown = {"images": [str(e.slices) for e in first], "modality": [e.origin.modality for e in first]}
    if not unnamed(index.entries):
        shown["patient"] = [e.group for e in first]
    shown["id"] = [e.id for e in first]
    shown["issues"] = ["\n".join(e.issues) for e in first]
    columns = {name: cells for name, cells in shown.items() if any(cells)}
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name == "images" else "left", no_wrap=name in ("images", "modality"))
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))  # a name is never markup
    return table


def _unnamed(index: Index) -> list[str]:
    return [EACH_ITS_OWN] if unnamed(index.entries) else []


def _print_issues(index: Index, console: Console) -> None:
    """A legend of the codes that occur, with the number of entries that have them."""
    counts = Counter(code for e in index.entries for code in {issue.partition(":")[0] for issue in e.issues})
    if counts:
        console.print("\nIssues: odd, but no reason not to read them")
    for code, number in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        console.print(Padding(Text(f"{code} ({number}): {explained(code)}."), (0, 0, 0, 2)))


def _print_problems(index: Index, console: Console) -> None:
    if index.problems:
        console.print(f"\nCannot be used: {len(index.problems)}")
    counts: Counter[str] = Counter()
    examples: dict[str, list[Problem]] = {}
    for problem in index.problems:
        code = problem.code.partition(":")[0]
        counts[code] += 1
        if counts[code] <= _EXAMPLES:
            examples.setdefault(code, []).append(problem)
    for code, number in counts.most_common():
        console.print(f"  {code} ({number})")
        for problem in examples[code]:
            console.print(Padding(Text(f"{problem.path}: {problem.message}"), (0, 0, 0, 4)))
        if number > _EXAMPLES:
            console.print(f"    ... and {number - _EXAMPLES} more; --json lists all.")
