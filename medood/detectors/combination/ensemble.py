"""Several detectors as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, TrainingError
from medood.core.running.processes import together
from medood.core.tracing import is_written_down
from medood.detectors.combination.image_keys import keys_of
from medood.detectors.combination.surprise import joined, joined_in_tensors, surprise, surprise_in_tensors
from medood.features.interface import each_batch_once

_LEAST_HELD_OUT = 10
_LEVELS = 256
"""How many values stand for the map of a held-out image."""

_UPPER = 0.98, 2.054
"""A quantile, and how many standard deviations it lies above the median of a normal distribution."""


class Ensemble(Detector):
    """Several detectors as one, joined by how seldom a held-out normal image scores as high in each.

    Each member's score of an image becomes a p-value among its scores of the held-out normal images, with a smooth tail beyond the highest
    of them, and the p-values become one score. They need not be independent: the thresholds come from the joined scores of the held-out
    images. For these each is compared with the images of other patients only, as a new image is with all, so that the false-alarm rate
    holds (leaving one out, as the jackknife does: Barber et al., Annals of Statistics 2021); compared with themselves too, twenty images
    would let twice as many false alarms pass. The maps are brought to one unit, deviations above the median of normal pixels inside the
    body and never far below it, and averaged; members without a map leave it to the others. Where a recipe's `pooling` makes scores from
    maps, the joined map alone decides. The scores of all members are written beside.

    members  detectors with their parameters, trained one after the other: `[{name: patch_core, bank: 2000}, {name: mahalanobis, features:
             {name: efficientnet_lite0, layers: [1, 2]}}]`. Each may have `features`, else the recipe's, and a `label`, which it needs
             where two have one name. Epochs are parameters of a member, or `training.epochs` by the name of its phase, "label/phase"
    join     "fisher": the sum of the logarithms of the p-values, so that many members who are a little surprised count;
             "harmonic_mean": nearly the lowest p-value, whatever the number of members; "maximum": the lowest, and the highest of the maps
    runs     folders of trained runs, in place of `members`: their detectors are copied and not trained again. They must have been made
             from the same images with the same transforms and split
    """

    spread_: Tensor  # (members,)
    centre_: Tensor  # (members,)
    normal_: Tensor  # (held-out images, members)
    keys_: Tensor  # (held-out images,)
    patients_: Tensor  # (held-out images,)

    def __init__(
        self,
        spec: ImageSpec,
        members: Mapping[str, Detector],
        *,
        join: Literal["fisher", "harmonic_mean", "maximum"] = "fisher",
        runs: tuple[str, ...] = (),
    ) -> None:
        super().__init__(spec)
        if len(members) < 2:
            raise MedoodError(f"An ensemble needs at least two members, found {len(members)}.")
        self.labels, self.members = tuple(members), nn.ModuleList(members.values())
        self.join, self.trained = join, bool(runs)
        self.localises = any(member.localises for member in members.values())
        self.learns_from_contrast = not runs and any(member.learns_from_contrast for member in members.values())
        self.fitted_later("spread_", "centre_", "normal_")
        self.fitted_later("keys_", "patients_", dtype=torch.int64)

    @property
    def detectors(self) -> list[Detector]:
        """The members, in their order."""
        return [member for member in self.members if isinstance(member, Detector)]

    def forecast(self, images: int) -> str:
        return "" if self.trained else " ".join(filter(None, (member.forecast(images) for member in self.detectors)))

    def phases(self) -> list[Phase]:
        phases: list[Phase] = []
        for label, member in zip(self.labels, self.detectors, strict=True):
            for phase in () if self.trained else member.phases():
                phase.name = f"{label}/{phase.name}"
                phases.append(phase)
        return [*phases, _Join(self)]

    def scores_of_members(self, image: Tensor) -> list[Scores]:
        with each_batch_once(self):
            return [member._score(image) for member in self.detectors]

    def solve(self, normal: Tensor, keys: Tensor, patients: Tensor, levels: list[Tensor]) -> None:
        """Keep what held-out images score, (n, members), with their keys and patients (n,), and the unit of every member's map, from some
        of its values."""
        for label, scores in zip(self.labels, normal.T, strict=True):
            if not bool(scores.isfinite().all()):
                raise TrainingError(f"The member {label} gives held-out images scores that are no numbers: its training diverged.")
        self.normal_, self.keys_, self.patients_ = normal, keys, patients
        units = [_unit(values) for values in levels]
        self.centre_, self.spread_ = (normal.new_tensor(values) for values in zip(*units, strict=True))

    def _score(self, image: Tensor) -> Scores:
        found = self.scores_of_members(image)
        scores = torch.stack([each.image for each in found], 1)
        parts = {label: each.image for label, each in zip(self.labels, found, strict=True)}
        return Scores(self._joined(image, scores), self._map(image, found), parts=parts)

    def _joined(self, image: Tensor, scores: Tensor) -> Tensor:
        """(B,) from the members' scores (B, members). An image that is itself one of the held-out ones is compared with those of the other
        patients, as a new image of a new patient is with all, or with the other images when few would be left."""
        normal = self.normal_.double().cpu().numpy()
        if is_written_down():  # which knows no image again: all are new
            each = [surprise_in_tensors(found, among) for found, among in zip(scores.double().unbind(1), normal.T, strict=True)]
            return joined_in_tensors(torch.stack(each, 1), self.join).float()
        given = scores.double().cpu().numpy()
        surprises = _surprises(given, normal)
        same_image = keys_of(image)[:, None] == self.keys_.cpu().numpy()
        patients = self.patients_.cpu().numpy()
        for row in np.flatnonzero(same_image.any(1)):
            others = ~np.isin(patients, patients[same_image[row]])
            others = others if others.sum() >= _LEAST_HELD_OUT else ~same_image[row]
            surprises[row] = _surprises(given[row : row + 1], normal[others])[0]
        return torch.from_numpy(joined(surprises, self.join)).float().to(scores.device)

    def _map(self, image: Tensor, found: list[Scores]) -> Tensor | None:
        """In deviations above what is usual among normal pixels inside the body; 0, as they are, outside.

        Nothing counts as more normal than nearly all normal pixels: a member who looks for what is bright shall not talk others out of
        what is dark.
        """
        maps = [
            ((each.map - centre) / spread).clamp(min=-_UPPER[1])
            for each, centre, spread in zip(found, self.centre_, self.spread_, strict=True)
            if each.map is not None
        ]
        if not maps:
            return None
        stack = torch.stack(maps)
        return (stack.amax(0) if self.join == "maximum" else stack.mean(0)) * self.foreground(image)


def _surprises(scores: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return np.stack([surprise(each, among) for each, among in zip(scores.T, normal.T, strict=True)], 1)


def _unit(values: Tensor) -> tuple[float, float]:
    """Median of map values (n,), and what one deviation is: neither a hot rim nor a map that is mostly 0 changes them much."""
    if not len(values):
        return 0.0, 1.0
    share, deviations = _UPPER
    ordered = values.sort().values
    middle, upper, top = (float(ordered[int(place * (len(ordered) - 1))]) for place in (0.5, share, 1.0))
    return middle, (upper - middle) / deviations or top - middle or abs(middle) or 1.0


class _Join(Phase):
    """What the trained members say of held-out images."""

    name = "join"
    held_out = _LEAST_HELD_OUT

    def __init__(self, detector: Ensemble) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.rows: list[Tensor] = []
        self.keys: list[np.ndarray] = []
        self.patients: list[Tensor] = []
        self.levels: list[list[Tensor]] = [[] for _ in self.detector.members]

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        found = self.detector.scores_of_members(batch.image)
        self.rows.append(together(torch.stack([each.image for each in found], 1)))
        self.keys.append(together(torch.from_numpy(keys_of(batch.image))).numpy())
        seen = sum(map(len, self.patients))
        self.patients.append(torch.arange(seen, seen + batch.whole) if batch.patient is None else together(batch.patient.cpu()))
        body = self.detector.foreground(batch.image)
        for levels, each in zip(self.levels, found, strict=True):
            if each.map is not None:
                found_here = [_levels(heat[inside]) for heat, inside in zip(each.map, body, strict=True)]
                levels.append(together(torch.cat(found_here)))
        return {}

    def finish(self) -> None:
        rows = torch.cat(self.rows)
        keys = torch.from_numpy(np.concatenate(self.keys)).to(rows.device)
        levels = [torch.cat([part.cpu() for part in parts]) if parts else torch.empty(0) for parts in self.levels]
        self.detector.solve(rows, keys, torch.cat(self.patients).to(rows.device), levels)
        del self.rows, self.keys, self.patients, self.levels


def _levels(values: Tensor) -> Tensor:
    """Evenly spaced order statistics of values (n,), so that every image counts alike and memory stays bounded."""
    places = ((torch.arange(_LEVELS) + 0.5) / _LEVELS * len(values)).long() if len(values) > _LEVELS else torch.arange(len(values))
    return values.sort().values[places.to(values.device)]
