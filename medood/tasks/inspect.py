"""What is in a folder, how it will be grouped, and what cannot be used and why."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from medood.core.errors import MedoodError
from medood.core.issue_codes import explained
from medood.core.volume import Index
from medood.data.found import check_found
from medood.data.opening import open_source
from medood.data.patients import patients_in_names, unnamed


def inspect_folder(folder: Path, source: str, table: str | None, as_json: bool) -> None:
    """Print the index. Raises MedoodError, once it is printed, when there is nothing that could be read."""
    if not folder.exists():
        raise MedoodError(f"There is no folder {folder}.")
    index = open_source(source, folder, **({"csv": table} if table else {})).index()
    if as_json:
        print(json.dumps(summary(index), indent=1))
    else:
        _print(index)
    check_found(index)


def summary(index: Index) -> dict[str, Any]:
    """Plain values for JSON; no pixels were read and no identifier of a person is in it."""
    return {
        "entries": [
            {
                "id": e.id,
                "group": e.group,
                "slices": e.slices,
                "files": len(e.files),
                "modality": e.origin.modality,
                "series_uid": e.origin.series_uid,
                "label": e.label,
                "part": e.part,
                "issues": list(e.issues),
            }
            for e in index.entries
        ],
        "problems": [asdict(p) for p in index.problems],
        "patients": len({e.group for e in index.entries}),
        "images": sum(e.slices for e in index.entries),
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
    shown = {"images": [str(e.slices) for e in index.entries], "modality": [e.origin.modality for e in index.entries]}
    if not unnamed(index.entries):
        shown["patient"] = [e.group for e in index.entries]
    shown["id"] = [e.id for e in index.entries]
    shown["issues"] = ["\n".join(e.issues) for e in index.entries]
    columns = {name: cells for name, cells in shown.items() if any(cells)}
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name == "images" else "left", no_wrap=name in ("images", "modality"))
    for row in list(zip(*columns.values(), strict=True))[:most]:
        table.add_row(*map(Text, row))  # a name is never markup
    return table


def _unnamed(index: Index) -> list[str]:
    say = "Every file counts as a patient, for nothing says whose they are: a table with a column `group` would."
    return [say] if unnamed(index.entries) else []


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
    counts = Counter(p.code.partition(":")[0] for p in index.problems)
    for code, number in counts.most_common():
        shown = [p for p in index.problems if p.code.partition(":")[0] == code][:5]
        console.print(f"  {code} ({number})")
        for p in shown:
            console.print(Padding(Text(f"{p.path}: {p.message}"), (0, 0, 0, 4)))
        if number > len(shown):
            console.print(f"    ... and {number - len(shown)} more; --json lists all.")
