"""Whether a file gives the answers that medood gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medood.artefacts.carried import Carried
from medood.artefacts.program import spread
from medood.core.errors import MedoodError
from medood.metrics.calibration import Calibration
from medood.scoring.map_folder import native_map, outside
from medood.scoring.rows import Scorer

TOLERANCE = 1e-4
"""The largest difference that is let pass, of a score or of a pixel of a map, each in its unit."""

_MAPS = 8
"""Of so many images the maps are compared too."""

Program = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""One image float32 (1, C, rows, columns) to its results by name."""


@dataclass(frozen=True, eq=False)
class Answers:
    """score, p_value float64 (n,); abnormal bool (n,); maps float32 (m, rows, columns) of the first m images, none without maps"""

    score: np.ndarray
    p_value: np.ndarray
    abnormal: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Agreement:
    """The largest differences in units: of scores, and of pixels of maps (None without maps). `decisions`: how many decisions differ."""

    score: float
    map: float | None
    decisions: int

    @property
    def good(self) -> bool:
        return max(self.score, self.map or 0.0) <= TOLERANCE  # false for what is no number

    def sentence(self, images: int) -> str:
        of_maps = "" if self.map is None else f", of a pixel of a map {self.map:.1e}"
        return f"{images} images: the largest difference of a score is {self.score:.1e}{of_maps}, decisions that differ: {self.decisions}."


@dataclass(frozen=True)
class Units:
    """What differences are measured by: from the lowest to the highest score of the held-out normal images, and the width of the map's
    colour scale; 1 where that is nothing. Scores this close to `threshold`, within the tolerance, may be called either way."""

    score: float
    map: float
    threshold: float

    @classmethod
    def of(cls, calibration: Calibration) -> Units:
        scale = calibration.map_scale
        width = scale.high - scale.low if scale else 0.0
        return cls(spread(calibration), width or 1.0, calibration.threshold)


def of_medood(carried: Carried) -> Answers:
    """What `medood score` says of the inputs."""
    scorer = Scorer(carried.run, torch.device("cpu"), None)
    calibration, scale = scorer.image, scorer.image.map_scale
    nothing = outside(scale)
    scores: list[float] = []
    maps: list[np.ndarray] = []
    for given in carried.inputs:
        if carried.grid is not None:
            prepared = carried.prepared(given)
            scored = scorer.pool(scorer.score(prepared.images), prepared)
            heat = None if scored.map is None else native_map(scored, prepared, nothing)[0]
        else:
            image = given[None]
            scored = scorer.pooling(scorer.score(image), image, np.zeros(1, int), carried.raster)
            heat = None if scored.map is None else scored.map if scored.shown is None else np.where(scored.shown, scored.map, nothing)
        scores.append(float(scored.image[0]))
        if heat is not None and carried.detector is carried.run.detector and len(maps) < _MAPS:
            maps.append(heat[0])
    score = np.array(scores)
    shape = carried.inputs.shape[2:]
    return Answers(score, calibration.p_value(score), calibration.anomalous(score), _stacked(maps, shape))


def of_program(program: Program, inputs: np.ndarray) -> Answers:
    """Raises MedoodError when it cannot compute them."""
    answers = []
    for number, given in enumerate(inputs):
        try:
            found = program(given[None])
            scores = [np.asarray(found[name], float).item() for name in ("score", "p_value", "abnormal")]
            answers.append((*scores, found["map"][0, 0] if "map" in found and number < _MAPS else None))
        except MedoodError:
            raise
        except Exception as error:  # whatever a runtime raises on a program that is not what it should be
            why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise MedoodError(f"The program cannot compute an image of the shape {given.shape}: {why}.") from error
    score, p_value, abnormal, maps = zip(*answers, strict=True)
    there = [heat for heat in maps if heat is not None]
    return Answers(np.array(score), np.array(p_value), np.array(abnormal) > 0, _stacked(there, inputs.shape[2:]))


def compared(ours: Answers, theirs: Answers, units: Units) -> Agreement:
    far = _largest(ours.score, theirs.score) / units.score
    apart = None if not len(ours.maps) else _largest(ours.maps, theirs.maps) / units.map
    differ = ours.abnormal != theirs.abnormal
    return Agreement(far, apart, int(differ.sum()))


def check_decisions(program: Answers, calibration: Calibration, units: Units) -> None:
    """Raises MedoodError unless p-values and decisions follow from the scores, up to the tolerance of these."""
    near = TOLERANCE * units.score
    lowest, highest = calibration.p_value(program.score + near), calibration.p_value(program.score - near)
    called = calibration.anomalous(program.score - near) <= program.abnormal
    missed = program.abnormal <= calibration.anomalous(program.score + near)
    within = (lowest - 1e-9 <= program.p_value) & (program.p_value <= highest + 1e-9)
    if not (within & called & missed).all():
        raise MedoodError("The file gives other p-values or decisions than medood for the same scores: it is not written.")


def as_arrays(inputs: np.ndarray, answers: Answers) -> dict[str, Any]:
    """For a .npz file, whole numbers in their smallest type."""
    return {"inputs": _compact(inputs), **vars(answers)}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, Answers]:
    """Raises KeyError for one that is missing."""
    return arrays["inputs"].astype(np.float32), Answers(*(arrays[name] for name in ("score", "p_value", "abnormal", "maps")))


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference; infinite where the shapes differ."""
    return float(np.abs(one.astype(float) - other).max()) if one.shape == other.shape else float("inf")


def _stacked(maps: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(maps).astype(np.float32) if maps else np.zeros((0, *shape), np.float32)


def _compact(images: np.ndarray) -> np.ndarray:
    for kind in (np.uint8, np.int16, np.uint16, np.int32):
        bounds = np.iinfo(kind)
        if images.min() >= bounds.min and images.max() <= bounds.max and (images == np.rint(images)).all():
            return images.astype(kind)
    return images
