"""One run of a benchmark: trained or reused, then scored on its own cohort's test images and on every outlier set."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medood.core.errors import MedoodError
from medood.core.files import sha256, write_json
from medood.core.grid import INTRA, Job, OutlierSet, slug
from medood.core.run import is_run
from medood.core.volume import Entry, Index
from medood.tasks.data import open_source
from medood.tasks.labels import write_labels
from medood.tasks.score import of_part, score_folder
from medood.tasks.train import train_recipe
from medood.tasks.workers import Tell
from medood.training.progress import Silence


@dataclass(frozen=True)
class Order:
    """What a worker needs to carry out a job. `devices`: one for each worker, or "auto"."""

    job: Job
    out: Path
    sets: Mapping[str, OutlierSet]
    devices: tuple[str, ...]
    retrain: bool
    cache: Path | None

    @property
    def folder(self) -> Path:
        return self.out / self.job.place


def scores_file(folder: Path, against: str) -> Path:
    """Where a run's scores of its own test images (INTRA) or of an outlier set are."""
    return folder / "scores" / f"{'own' if against == INTRA else slug(against)}.csv"


def labels_file(out: Path, cohort: str) -> Path:
    return out / slug(cohort) / "labels.csv"


def carry_out(order: Order, worker: int, tell: Tell) -> dict[str, float]:
    """Train and score; what is complete and made by the same recipe is kept. Returns the seconds of both, 0 for what was kept."""
    device = order.devices[worker % len(order.devices)]
    order.folder.mkdir(parents=True, exist_ok=True)
    reused = is_run(order.folder) and not order.retrain
    with _output_to(order.folder / "log.txt"):
        started = time.perf_counter()
        if not reused:
            train_recipe(
                order.job.recipe,
                order.folder,
                data=None,
                device=device,
                resume=not order.retrain,
                overwrite=order.retrain,
                cache=order.cache,
                progress=_Told(tell),
            )
        trained = time.perf_counter()
        tell("scoring")
        _score_own(order, device)
        for name, outliers in order.sets.items():
            tell(f"scoring {name}")
            _score(order.folder, name, outliers, device, lambda index, chosen=outliers: _chosen(index, chosen))
    return {"train": 0.0 if reused else round(trained - started, 1), "score": round(time.perf_counter() - trained, 1)}


def _score_own(order: Order, device: str) -> None:
    """The labelled images of patients that the run has not seen."""
    name, parameters = order.job.recipe.choice("source")
    labels = labels_file(order.out, order.job.cohort)
    if not labels.is_file():
        source = dict(parameters)
        write_labels(open_source(name, source.pop("root", None), **source), labels, masks=False)
    rows = json.loads((order.folder / "index.json").read_text(encoding="utf-8"))
    known = {row["group"] for row in rows}
    own = OutlierSet(source={"name": name, **parameters})
    _score(order.folder, INTRA, own, device, lambda index: _unseen(index, known))


def _unseen(index: Index, known: set[str]) -> Index:
    entries = tuple(e for e in index.entries if e.group not in known and (e.label is not None or e.slices > 1))
    if not entries:
        raise MedoodError(
            f"{index.root}: no labelled image is left to test on: all are of patients in training. Set patients aside with "
            "`split.test`, or name a test part in the table."
        )
    return replace(index, entries=entries, problems=())


def _chosen(index: Index, outliers: OutlierSet) -> Index:
    """The entries of a set's part, thinned evenly to its limit."""
    entries = of_part(index, outliers.part).entries
    if outliers.limit is not None and len(entries) > outliers.limit:
        entries = _thinned(entries, outliers.limit)
    return replace(index, entries=entries, problems=())


def _thinned(entries: tuple[Entry, ...], limit: int) -> tuple[Entry, ...]:
    return tuple(entries[i * len(entries) // limit] for i in range(limit))


def _score(folder: Path, against: str, images: OutlierSet, device: str, keep: Any) -> None:
    """Score, unless the same run has scored the same set before."""
    out = scores_file(folder, against)
    done = out.with_suffix(".done.json")
    stamp = {"run": sha256(folder / "manifest.json"), "set": images.model_dump(mode="json")}
    with suppress(OSError, ValueError):
        if out.is_file() and json.loads(done.read_text(encoding="utf-8")) == stamp:
            return
    source = dict(images.source)
    name, root = source.pop("name"), source.pop("root", None)
    score_folder(folder, Path(root or "."), out, source=name, parameters=source, keep=keep, device=device, overwrite=True)
    write_json(done, stamp)


class _Told(Silence):
    """Passes on which epoch of which phase is being trained."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell

    def begin(self, phase: str, epochs: int, images: int, epochs_done: int) -> None:
        self.phase, self.epochs = phase, epochs
        self.tell(f"{phase}, epoch {epochs_done + 1} of {epochs}")

    def end_epoch(self, epoch: int, losses: Mapping[str, float], validation: float | None) -> None:
        self.tell(f"{self.phase}, epoch {min(epoch + 1, self.epochs)} of {self.epochs}")


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Everything that is printed meanwhile goes into a file, also what C libraries print."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    with log.open("a", encoding="utf-8") as file:
        try:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, old in zip((1, 2), before, strict=True):
                os.dup2(old, stream)
                os.close(old)
