"""What is in a folder, how it will be grouped, and what cannot be used and why."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medood.core.errors import MedoodError
from medood.core.volume import Index
from medood.data.found import check_found
from medood.data.opening import open_source


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
    entries = Table("images", "modality", "patient", "id", "what to know", box=None)
    for column in entries.columns[2:]:
        column.overflow = "fold"
    for e in index.entries[:most]:
        entries.add_row(*map(Text, (str(e.slices), e.origin.modality, e.group, e.id, ", ".join(e.issues))))  # a name is never markup
    if index.entries:
        console.print(entries)
    if len(index.entries) > most:
        console.print(f"... and {len(index.entries) - most} more; --json lists all.")
    patients = len({e.group for e in index.entries})
    count = sum(e.slices for e in index.entries)
    console.print(f"\nSeries or single images: {len(index.entries)}; images in them: {count}; patients: {patients}.")
    if not index.problems:
        return
    console.print(f"\nCannot be used: {len(index.problems)}")
    counts = Counter(p.code.partition(":")[0] for p in index.problems)
    for code, number in counts.most_common():
        shown = [p for p in index.problems if p.code.partition(":")[0] == code][:5]
        console.print(f"  {code} ({number})")
        for p in shown:
            console.print(f"    {p.path}: {p.message}", soft_wrap=True)
        if number > len(shown):
            console.print(f"    ... and {number - len(shown)} more; --json lists all.")
