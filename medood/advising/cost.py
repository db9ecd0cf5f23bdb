"""What a candidate takes on this machine, from a handful of images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from medood.advising.candidates import Candidate
from medood.advising.images import Some
from medood.advising.trial import fresh
from medood.core.detector import Batch, Detector, Phase
from medood.core.errors import MedoodError
from medood.core.geometry import Raster
from medood.features.interface import Extractor, keep_features
from medood.scoring.inference import score_images
from medood.scoring.pooling import Pool
from medood.training.plan import planned_epochs

_FEW = 8


@dataclass(frozen=True)
class Cost:
    """Seconds by what they go into.

    image   features of one image, which candidates with the same `shared` compute once for all
    train   on the images of the trial;  score  one image;  both without features
    all     training, features included, on all normal training images of the folder
    memory  a sentence, or nothing
    shared  of preparation and network; "" for a candidate without features
    """

    image: float
    train: float
    score: float
    all: float
    memory: str
    shared: str

    def seconds(self, trained_on: int, scored: int, known: frozenset[str] | set[str]) -> float:
        """Of a trial, when the features named `known` are there."""
        features = 0.0 if self.shared in known else self.image * (trained_on + scored)
        return features + self.train + self.score * scored


def cost(candidate: Candidate, images: Some, everything: int, device: torch.device) -> Cost:
    """Times a network on a few of the training images. `everything` is how many normal training images the folder holds."""
    detector = fresh(candidate).to(device)
    few = images.gather(np.arange(min(_FEW, len(images)))).to(device)
    with TemporaryDirectory(prefix="medood-") as folder:
        feature = _feature_seconds(detector, few, Path(folder))
        train = _train_seconds(detector, candidate, few, (len(images), everything))
        detector.mark_fitted()
        score = _seconds(partial(_score, detector, candidate, few)) / len(few)
    extractor = getattr(detector, "features", None)
    shared = f"{candidate.shown_as} {extractor.fingerprint}" if isinstance(extractor, Extractor) else ""
    return Cost(feature, train[0], score, train[1] + everything * feature, _memory(detector, everything), shared)


def within(seconds: float | None, candidates: Sequence[Candidate], costs: Sequence[Cost], trained_on: int, scored: int) -> list[Candidate]:
    """Candidates in order as long as they fit into so many seconds; one that does not is passed over. Raises MedoodError when none fits."""
    chosen, known, total = [], set[str](), 0.0
    for candidate, each in zip(candidates, costs, strict=True):
        more = each.seconds(trained_on, scored, known)
        if seconds is None or total + more <= seconds:
            chosen.append(candidate)
            known.add(each.shared)
            total += more
    if not chosen:
        least = min(each.seconds(trained_on, scored, set()) for each in costs)
        raise MedoodError(
            f"No candidate fits into the budget: the quickest takes about {least / 60:.1f} min. Give more with --budget, or take fewer "
            "images with --images."
        )
    return chosen


def _feature_seconds(detector: Detector, few: torch.Tensor, folder: Path) -> float:
    """Of one image; afterwards those of all of the few are kept, so that nothing else that is timed computes them."""
    extractor = getattr(detector, "features", None)
    if not isinstance(extractor, Extractor):
        return 0.0
    extractor(few[:1])
    keep_features(detector, folder)
    return _seconds(partial(extractor, few)) / len(few)


def _train_seconds(detector: Detector, candidate: Candidate, few: torch.Tensor, counts: Sequence[int]) -> list[float]:
    """Of training on so many images each, features not included."""
    plan, totals = candidate.recipe.training, [0.0 for _ in counts]
    phases = list(detector.phases())
    for phase, epochs in zip(phases, planned_epochs(phases, plan.epochs), strict=True):
        detector.train(bool(phase.optimizers))
        if phase.optimizers:
            batch = few.repeat(-(-plan.batch_size // len(few)), 1, 1, 1)[: plan.batch_size]
            with torch.no_grad():
                phase.begin()
            phase.step(Batch(batch), phase.update)
            step = _seconds(partial(phase.step, Batch(batch), phase.update))
            more = [step * epochs * count / len(batch) for count in counts]
        else:
            whole = _seconds(partial(_closed, phase, few))
            more = [whole * _growth(detector, count, len(few)) for count in counts]
        totals = [total + each for total, each in zip(totals, more, strict=True)]
    return totals


def _score(detector: Detector, candidate: Candidate, few: torch.Tensor) -> None:
    """As a trial does, one image after the other, in every way of reading."""
    raster = Raster((1.0, 1.0), known=False)
    for image in few.split(1):
        scored = score_images(detector, image, 1, image.device)
        for reading in candidate.readings.values():
            Pool.of_recipe(reading.recipe)(scored, image.cpu().numpy(), np.zeros(1, int), raster)


@torch.no_grad()
def _closed(phase: Phase, few: torch.Tensor) -> None:
    phase.begin()
    phase.step(Batch(few), phase.update)
    phase.finish()


def _growth(detector: Detector, images: int, few: int) -> float:
    """How much longer many images take than a few; a coreset is never chosen from more than its candidates."""
    most = getattr(detector, "candidates", None)
    if most is None:
        return images / few
    grid: Any = detector.grid
    places = int(np.prod(grid))
    return min(images * places, most) / min(few * places, most)


def _memory(detector: Detector, images: int) -> str:
    learned = sum(parameter.numel() for parameter in detector.parameters())
    return detector.forecast(images) or (f"{learned / 1e6:.1f} M weights." if learned else "")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
