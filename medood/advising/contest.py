"""All candidates on the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medood.advising.anomalies import Kind
from medood.advising.candidates import Candidate
from medood.advising.cost import Cost, cost
from medood.advising.images import Shown, Some, normals, thinned
from medood.advising.pasting import Pasting
from medood.advising.trial import plain, rows, scores, trained
from medood.core.console import Console
from medood.core.detector import Detector
from medood.core.errors import MedoodError, TrainingError
from medood.core.files.user_folders import feature_folder
from medood.core.volume import Entry, Problem, Source
from medood.data.attempt import attempt
from medood.data.cache import Cache, CachedImages
from medood.data.leaks import leaks
from medood.data.side_by_side import side_by_side
from medood.transforms.pipeline import Pipeline

LEAST = 8
"""Training images, and held-out images, without which nothing can be said."""


class Contest:
    """What candidates are trained on and asked about, by the way in which it is prepared (`Candidate.shown_as`).

    train, held_out  normal images;  shown  held-out normal images, then pasted ones: of every preparation the same, in the same order
    """

    def __init__(
        self, source: Source, candidates: Sequence[Candidate], *, cache: Path | None, device: torch.device, console: Console
    ) -> None:
        self.source, self.candidates, self.cache = source, candidates, cache
        self.device, self.console = device, console
        self.preparations = {each.shown_as: each.recipe.transforms for each in candidates}
        self.train: dict[str, Some] = {}
        self.held_out: dict[str, Some] = {}
        self.shown: dict[str, list[Shown]] = {}

    def prepare(self, train: Sequence[Entry], held_out: Sequence[Entry], images: int) -> None:
        """Through the cache of prepared images, where `medood train` finds them again. Raises MedoodError when there are too few."""
        whole = {part: self.prepared(entries, part) for part, entries in (("training", train), ("held-out", held_out))}
        for key in self.preparations:
            self.train[key] = thinned(whole["training"][key], images - images // 3)
            self.held_out[key] = thinned(whole["held-out"][key], images // 3)
        first = next(iter(self.preparations))
        number = len(self.train[first]), len(self.held_out[first])
        if min(number) < LEAST:
            raise TrainingError(
                f"Found {number[0]} normal images to train on and {number[1]} to hold out, at least {LEAST} of each are needed to tell "
                "detectors apart. `medood inspect` shows what is in the folder."
            )
        for warning in leaks(whole["training"][first], whole["held-out"][first]):
            self.console.warn(warning)
        shown = normals([whole["held-out"][key] for key in self.preparations], images // 3)
        self.shown = dict(zip(self.preparations, shown, strict=True))
        self.normal = whole["held-out"][first]

    def paste(self, what: Sequence[tuple[Kind, str]], images: int, folder: Path, seed: int) -> None:
        """Held-out normal images with an anomaly each, prepared in every way, below `folder`; their features too."""
        self.folder = folder
        pasting = Pasting(self.source, self.normal, self.preparations, what, images, folder, seed)
        for made in self.console.track(pasting.run(), "Pasting anomalies into held-out images", len(pasting)):
            for key, one in made.items():
                self.shown[key].append(one)

    def costs(self, everything: int) -> list[Cost]:
        """Of each candidate; `everything`: normal training images in the folder."""
        return [
            cost(each, self.train[each.shown_as], everything, self.device)
            for each in self.console.track(self.candidates, "Timing the candidates", len(self.candidates))
        ]

    @property
    def asked(self) -> int:
        """Images that every candidate scores."""
        return sum(len(one.rows) for one in next(iter(self.shown.values())))

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Case ("" for normal) and patient of every image that counts."""
        return rows(next(iter(self.shown.values())))

    def trained(self, candidate: Candidate) -> Detector:
        key = candidate.shown_as
        return trained(candidate, self.train[key], self.held_out[key], feature_folder(self.cache), self.device)

    def scores(self, candidate: Candidate, detector: Detector, shown: Sequence[Shown] | None = None) -> dict[str, np.ndarray]:
        """Of every image that counts, by the title of the candidate with its way of reading; of others that it is `shown` if wanted."""
        shown = self.shown[candidate.shown_as] if shown is None else shown
        found = scores(detector, candidate, shown, self.folder / "features", self.device)
        return {candidate.title(way): values for way, values in found.items()}

    def plain(self, shown: Mapping[str, Sequence[Shown]] | None = None) -> dict[str, np.ndarray]:
        """Trivial features of every image that counts, as the first preparation shows it; of others that are `shown` if wanted."""
        first = self.candidates[0]
        return plain(next(iter(first.readings.values())).recipe, (self.shown if shown is None else shown)[first.shown_as])

    def prepared(self, entries: Sequence[Entry], part: str) -> dict[str, CachedImages]:
        """What every preparation makes of entries that all of them can use; the others are named and left out."""
        name, parameters = self.candidates[0].recipe.choice("source")
        parameters.pop("root", None)
        stores = {key: Cache(Pipeline(each), (name, parameters), self.cache) for key, each in self.preparations.items()}
        found: dict[str, list[Any]] = {key: [] for key in stores}
        each_way: Callable[[Entry], Any] = partial(self._each_way, list(stores.values()))
        tasks = side_by_side(each_way, entries, workers=4, ahead=8)
        for result in self.console.track(tasks, f"Preparing {part} images", len(entries)):
            if isinstance(result, Problem):
                self.console.warn(f"Left out: {result.path}: {result.message}")
                continue
            for key, one in zip(found, result, strict=True):
                found[key].append(one)
        return {key: CachedImages(each) for key, each in found.items()}

    def _each_way(self, stores: Sequence[Cache], entry: Entry) -> Any:
        return attempt(lambda entry: [store.prepared(self.source, entry) for store in stores], entry)


def written(candidates: Sequence[Candidate], title: str) -> dict[str, Any]:
    """The recipe, as a person writes it, of the candidate and reading that have a title."""
    for candidate in candidates:
        for way, reading in candidate.readings.items():
            if candidate.title(way) == title:
                return reading.written
    raise MedoodError(f"No candidate is called {title}.")
