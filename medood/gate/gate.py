"""The gate of a run: is this the kind of image that it was made for? Asked before anybody asks whether the image is abnormal."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from medood.core.detector import ImageSpec
from medood.core.errors import RunError
from medood.core.files.atomic import atomic_file
from medood.gate.changes import CHANGES
from medood.gate.conformal import PatientPValue
from medood.gate.distance import Discriminant, Distance
from medood.gate.statistics import BANK, statistics
from medood.gate.tags import differences

FILE = "gate.npz"
HOW_TO_ADD_A_GATE = "`medood gate {} --fit FOLDER` adds one from a folder of normal images."
GROUPS = ("values", "texture", "layout")
SCORE, CHANGED, FEATURES = "score", "changed", "features"
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, BadZipFile, zlib.error)
_WORDS = {
    "values": "grey values unlike any training image",
    "texture": "texture unlike any training image",
    "layout": "what lies where is unlike any training image",
    FEATURES: "its features are unlike those of any training image",
    SCORE: "the detector finds it far more normal than any normal image",
}


@dataclass(frozen=True)
class Judgement:
    """What the gate says of one image: p-value, small is another kind; whether it is refused; why, in words, empty if it is not."""

    p: float
    refused: bool
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Look:
    """What statistics say of n images: p-values (n,) by question, and the number of the change that each looks most like (n,)."""

    p_values: Mapping[str, np.ndarray]
    change: np.ndarray

    def __len__(self) -> int:
        return len(self.change)

    def __getitem__(self, rows: slice) -> Look:
        return Look({name: p[rows] for name, p in self.p_values.items()}, self.change[rows])


@dataclass(frozen=True, eq=False)
class Question:
    """p-values of one statistic, from normal images and from the same images with planted lesions: an image is judged by the larger."""

    normal: PatientPValue
    lesioned: PatientPValue | None = None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        p = self.normal(values)
        return p if self.lesioned is None else np.maximum(p, self.lesioned(values))


@dataclass(frozen=True, eq=False)
class Gate:
    """Several questions about an image, each with a p-value; that of the image is their smallest, times their number (Bonferroni).

    rate          share of normal images of new patients that may be refused
    tags          what the training images are by their headers: see `medood.gate.tags`
    distances     by group of statistics, and of the mean features of the network that the detector works on, where it works on one
    discriminant, scale  of the changes of a whole image, and mean and deviation (2, changes) of what it says of normal images of unseen
                  patients, infinite for what it cannot tell; None where images were too few
    questions     by name
    left_out      what the gate cannot ask, and why: sentences
    """

    rate: float
    spec: ImageSpec
    tags: Mapping[str, Any]
    distances: Mapping[str, Distance]
    discriminant: Discriminant | None
    scale: np.ndarray | None
    questions: Mapping[str, Question]
    left_out: Sequence[str] = field(default=())

    @property
    def needs_features(self) -> bool:
        return FEATURES in self.distances

    def look(self, images: np.ndarray, features: np.ndarray | None = None) -> Look:
        """At (n, channels, height, width) prepared images, whichever entries they are of; `judge` makes judgements of it.

        `features` (n, d) are their mean features, of a gate that needs them.
        """
        change = np.zeros(len(images), int)
        if not len(images) or not self.distances:
            return Look({}, change)
        found = statistics(images, self.spec)
        if self.needs_features:
            assert features is not None
            found[FEATURES] = features.astype(np.float64)
        values = {name: distance(found[name]) for name, distance in self.distances.items()}
        if self.discriminant is not None and self.scale is not None:
            told, (mean, deviation) = self.discriminant(joined(found)), self.scale
            values[CHANGED] = ((told - mean) / deviation).max(1)
            change = self.discriminant.likeliest(told, np.isfinite(deviation))
        return Look({name: self.questions[name](value) for name, value in values.items() if name in self.questions}, change)

    def judge(self, look: Look, facts: Mapping[str, Any], plane_is_chosen: bool, scores: np.ndarray | None = None) -> list[Judgement]:
        """Of the images of one entry with these tags, of what a look at them said, and of their scores (n,) if there are any."""
        other = differences(dict(self.tags), dict(facts), plane_is_chosen)
        if other:
            return [Judgement(0.0, True, "; ".join(other))] * len(look)
        p_values = dict(look.p_values)
        if scores is not None and len(look) and SCORE in self.questions:
            p_values[SCORE] = self.questions[SCORE](-np.asarray(scores, float))
        rows = zip(*(p.tolist() for p in p_values.values()), strict=True) if p_values else [()] * len(look)
        return [self._judgement(dict(zip(p_values, row, strict=True)), int(k)) for row, k in zip(rows, look.change, strict=True)]

    def series(self, judged: Sequence[Judgement]) -> Judgement:
        """Of a whole series: twice the median of the p-values of its slices, which is a p-value however they depend on each other."""
        if not judged:
            return Judgement(1.0, False)
        p = min(1.0, 2 * float(np.median([one.p for one in judged])))
        refused = p <= self.rate
        reasons = [one.reason for one in judged if one.refused]
        return Judgement(p, refused, max(set(reasons), key=reasons.count) if refused and reasons else "")

    def _judgement(self, p_values: Mapping[str, float], change: int) -> Judgement:
        if not p_values:
            return Judgement(1.0, False)
        p = min(1.0, len(self.questions) * min(p_values.values()))
        if p > self.rate:
            return Judgement(p, False)
        against = sorted((name for name in p_values if len(self.questions) * p_values[name] <= self.rate), key=p_values.__getitem__)
        words = [f"it looks {list(CHANGES)[change]}" if name == CHANGED else _WORDS[name] for name in against]
        return Judgement(p, True, "; ".join(words))

    def save(self, folder: Path) -> str:
        """Write it into a run folder; returns the name of the file."""
        arrays: dict[str, np.ndarray] = {}
        for name, distance in self.distances.items():
            arrays |= {f"{name}.mean": distance.mean, f"{name}.whitening": distance.whitening.astype(np.float32)}
        if self.discriminant is not None and self.scale is not None:
            told = self.discriminant
            arrays |= {"changes.axes": told.axes, "changes.middle": told.middle, "changes.apart": told.apart, "changes.scale": self.scale}
        for name, question in self.questions.items():
            for kind, known in (("normal", question.normal), ("lesioned", question.lesioned)):
                if known is not None:
                    arrays |= {f"{name}.{kind}": known.values, f"{name}.{kind}.patients": known.patients.astype(np.int32)}
        about = {"bank": BANK, "rate": self.rate, "tags": self.tags, "left_out": list(self.left_out), "questions": list(self.questions)}
        with atomic_file(folder / FILE) as part:
            np.savez_compressed(part, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
        return FILE

    @classmethod
    def load(cls, folder: Path, spec: ImageSpec) -> Gate | None:
        """That of a run folder; None for a run that was made without one, or with other statistics than today's. Raises RunError when the
        file is damaged."""
        if not has_gate(folder):
            return None
        path = folder / FILE
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            about = json.loads(str(arrays["about"]))
            groups = [name for name in (*GROUPS, FEATURES) if f"{name}.mean" in arrays]
            changes = None
            if "changes.axes" in arrays:
                changes = Discriminant(arrays["changes.axes"], arrays["changes.middle"], arrays["changes.apart"])
            return cls(
                float(about["rate"]),
                spec,
                about["tags"],
                {name: Distance(arrays[f"{name}.mean"], arrays[f"{name}.whitening"].astype(float)) for name in groups},
                changes,
                arrays.get("changes.scale"),
                {name: _question(arrays, name) for name in about["questions"]},
                about["left_out"],
            )
        except _DAMAGED as error:
            raise _damaged(folder) from error


def has_gate(folder: Path) -> bool:
    """Whether a run folder has a gate that can be asked. Raises RunError when its file is damaged."""
    if not (folder / FILE).is_file():
        return False
    try:
        with np.load(folder / FILE, allow_pickle=False) as file:
            return bool(json.loads(str(file["about"])).get("bank") == BANK)
    except _DAMAGED as error:
        raise _damaged(folder) from error


def _damaged(folder: Path) -> RunError:
    return RunError(f"{folder / FILE} is damaged: make it again with `medood gate {folder} --fit FOLDER` and normal images.")


def joined(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """All statistics (n, d) of images."""
    return np.concatenate([found[name] for name in GROUPS], 1)


def _question(arrays: Mapping[str, np.ndarray], name: str) -> Question:
    made = {
        kind: PatientPValue(arrays[f"{name}.{kind}"], arrays[f"{name}.{kind}.patients"])
        for kind in ("normal", "lesioned")
        if f"{name}.{kind}" in arrays
    }
    return Question(made["normal"], made.get("lesioned"))
