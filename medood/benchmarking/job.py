"""One run of a benchmark: trained or reused, then scored on its own cohort's test images and on every outlier set."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medood.benchmarking.images import Cohort, Images
from medood.benchmarking.workers import Tell
from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256, write_json
from medood.core.files.user_folders import feature_folder
from medood.core.running.warned import warnings_said
from medood.recipe.benchmarks.grid import INTRA, OWN, Job, slug
from medood.recipe.differences import changed_keys
from medood.recipe.recipe import Recipe
from medood.recipe.run import is_run
from medood.training.watching.progress import Silence


@dataclass(frozen=True)
class Order:
    """What a worker needs to carry out a job: where, on which images, and a device for each worker."""

    job: Job
    out: Path
    cohort: Cohort
    sets: Mapping[str, Images]
    devices: tuple[str, ...]
    retrain: bool
    cache: Path | None

    @property
    def folder(self) -> Path:
        return self.out / self.job.place

    @property
    def images(self) -> dict[str, Images]:
        """Everything to score, the cohort's own test images first."""
        return {INTRA: self.cohort.own, **self.sets}


def scores_file(folder: Path, against: str) -> Path:
    """Where a run's scores of its own test images (INTRA) or of an outlier set are."""
    return folder / "scores" / f"{OWN if against == INTRA else slug(against)}.csv"


def labels_file(out: Path, cohort: str) -> Path:
    return out / slug(cohort) / "labels.csv"


def made_otherwise(order: Order) -> bool:
    """Whether a run, finished or not, lies there that the job's recipe and the present images would not make."""
    path = order.folder / ("run.json" if is_run(order.folder) else "training.json")
    if not path.is_file():
        return False
    try:
        before = Recipe.model_validate_json(json.dumps(_json(path)["recipe"]))
        return bool(changed_keys(before, order.job.recipe)) or _json(_stamp_of_training(order)) != {"images": order.cohort.training}
    except (OSError, ValueError, KeyError, TypeError):
        return True


def is_scored(order: Order, against: str) -> bool:
    """Whether the scores are those of the present run, of the present images."""
    path = scores_file(order.folder, against)
    try:
        return path.is_file() and _json(path.with_suffix(".done.json")) == _stamp_of_scores(order, against)
    except (OSError, ValueError):
        return False


def carry_out(order: Order, worker: int, tell: Tell, *, train: Callable[..., Any], score: Callable[..., Any]) -> dict[str, float]:
    """Train and score with the functions of these commands; what is complete and made by the same recipe is kept.

    Returns the seconds of both, 0 for what was kept."""
    device = order.devices[worker % len(order.devices)]
    order.folder.mkdir(parents=True, exist_ok=True)
    with _output_to(order.folder / "log.txt"), warnings_said(partial(print, file=sys.stderr)):
        try:
            started = time.perf_counter()
            trained = _train(order, device, tell, train)
            seconds = time.perf_counter() - started
            _score_all(order, device, tell, score)
            return {"train": round(seconds, 1) if trained else 0.0, "score": round(time.perf_counter() - started - seconds, 1)}
        except MedoodError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise
        except Exception:
            traceback.print_exc()
            raise


def _train(order: Order, device: str, tell: Tell, train: Callable[..., Any]) -> bool:
    """Train, go on with a training, or leave the run as it is: then False."""
    if is_run(order.folder) and not order.retrain:
        return False
    if order.retrain:  # nothing of the old run may pass for one of the present images, should the new training fail
        (order.folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(order.folder / "scores", ignore_errors=True)
    write_json(_stamp_of_training(order), {"images": order.cohort.training})
    more: dict[str, Any] = {"resume": not order.retrain, "overwrite": order.retrain, "cache": order.cache}
    train(order.job.recipe, order.folder, data=None, device=device, progress=_Told(tell), **more)
    return True


def _score_all(order: Order, device: str, tell: Tell, score: Callable[..., Any]) -> None:
    """Score what is not scored yet; a set that fails does not keep the others from being scored."""
    errors = []
    for against, images in order.images.items():
        if is_scored(order, against):
            continue
        tell("scoring" if against == INTRA else f"scoring {against}")
        try:
            _score(order, against, images, device, score)
        except MedoodError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _score(order: Order, against: str, images: Images, device: str, score: Callable[..., Any]) -> None:
    out = scores_file(order.folder, against)
    source: dict[str, Any] = dict(images.source)
    name, root = source.pop("name"), source.pop("root", None)
    more: dict[str, Any] = {"keep": images.keep, "features": feature_folder(order.cache)}
    score(order.folder, Path(root or "."), out, source=name, parameters=source, device=device, overwrite=True, **more)
    write_json(out.with_suffix(".done.json"), _stamp_of_scores(order, against))


def _stamp_of_training(order: Order) -> Path:
    return order.folder / "benchmark.json"


def _stamp_of_scores(order: Order, against: str) -> dict[str, str]:
    return {"run": sha256(order.folder / "manifest.json"), "images": order.images[against].fingerprint}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


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
