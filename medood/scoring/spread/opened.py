"""From what a scoring is to be to the plan that its workers get."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medood.core.console import Console
from medood.core.running.installed import installed
from medood.core.volume import Index
from medood.engines.cluster import Cluster
from medood.recipe.run import Run
from medood.scoring.spread.driver import Spread
from medood.scoring.spread.parts import Parts
from medood.scoring.spread.worker import Plan


def spread_over(
    cluster: Cluster, run: Run, checksum: str, place: Mapping[str, Any], index: Index, out: Path, console: Console, **more: Any
) -> Spread:
    """A scoring of `index` into the table `out`; `place` is the source of the images, `more` what else a `Plan` says."""
    parts = Parts(out)
    where = {"source": place["name"], "root": index.root, "parameters": place["parameters"], "samples": samples(index)}
    return Spread(cluster, Plan(installed(), parts.folder, parts.token, run.folder.resolve(), checksum, **where, **more), parts, console)


def samples(index: Index) -> list[tuple[Path, int]]:
    """Some files of the images, and their bytes."""
    chosen = index.entries[:: max(1, len(index.entries) // 3)][:3]
    return [(entry.files[0], entry.files[0].stat().st_size) for entry in chosen if entry.files and entry.files[0].is_file()]
