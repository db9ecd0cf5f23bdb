"""The images that a run was made from: how they were read, and which of them come again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medood.core.run import Run
from medood.core.run_content import index_in
from medood.core.volume import Entry
from medood.data.cache import SELECTING


def reading(run: Run, source: str) -> dict[str, Any]:
    """How the run's own source read, where it is asked for again; which entries it left out does not matter here."""
    name, parameters = run.recipe.choice("source")
    return {key: value for key, value in parameters.items() if key not in ("root", *SELECTING)} if name == source else {}


def seen_before(run: Run, entries: Sequence[Entry]) -> int:
    """How many entries have the id of a training or held-out entry of the run."""
    known = {row["id"] for row in index_in(run.folder) if row["images"]}
    return sum(entry.id in known for entry in entries)
