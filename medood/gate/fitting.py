"""A gate from normal images alone: every statistic is fitted on some patients and judged on others, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medood.core.detector import ImageSpec
from medood.gate.changes import CHANGES
from medood.gate.conformal import PatientPValue
from medood.gate.distance import Discriminant, Distance, folds, patient_weights
from medood.gate.gate import CHANGED, FEATURES, GROUPS, SCORE, Gate, Question, joined
from medood.gate.lesions import with_lesions
from medood.gate.statistics import statistics
from medood.gate.tags import fit_tags, missing_tags

_MOST_IMAGES = 1000
_MOST_CHANGED = 120
_MOST_FEATURES = 500  # images whose features, with a lesion and without, are looked at
_APART = 2.5  # deviations of unseen normal images that a change must lie from them to be looked for
_FEWEST = 8  # images that a distance can be fitted on, and patients that a detector's scores can be judged by
_SMALLEST = 8  # pixels along each side; rows of numbers are images of one line
_CHUNK = 64

Gather = Callable[[np.ndarray], np.ndarray]
Features = Callable[[np.ndarray], np.ndarray]
"""Mean features (n, d) of (n, channels, height, width) images."""


def fit_gate(
    gather: Gather,
    groups: Sequence[str],
    facts: Sequence[dict[str, Any]],
    spec: ImageSpec,
    rate: float,
    scored: tuple[np.ndarray, Sequence[str]] | None = None,
    features: Features | None = None,
) -> Gate:
    """From normal images of the patients `groups`, float32 (B, C, H, W) by their numbers from `gather`, and the tags of every entry.

    `scored`: the detector's own scores (n,) of held-out images, and their patients. `features`: of the network that the detector works on.
    At most a thousand images are looked at, of as many patients as there are.
    """
    patients = np.unique(np.asarray(groups), return_inverse=True)[1]
    chosen = _in_turns(patients)[:_MOST_IMAGES]
    tags = fit_tags(facts)
    missing = missing_tags(tags)
    left_out = [f"The gate does not look at {', '.join(missing)}: no training image states that."] if missing else []
    questions, distances = {}, {}
    discriminant = scale = None
    of, count = patients[chosen], len(np.unique(patients[chosen]))
    if min(spec.height, spec.width) < _SMALLEST:
        left_out.append(f"The gate looks at tags only: there is little to see in {spec.height} x {spec.width} pixels.")
    elif len(chosen) < _FEWEST or count < 2:
        left_out.append(f"The gate looks at tags only: {len(chosen)} images of {count} patients are too few to learn what they look like.")
    else:
        normal, lesioned = _statistics(gather, chosen, spec, _same), _statistics(gather, chosen, spec, with_lesions)
        for name in GROUPS:
            distances[name], questions[name] = _distance(normal[name], lesioned[name], of)
        if features is not None:
            seen = chosen[:_MOST_FEATURES]
            pair = _features(gather, seen, spec, features)
            distances[FEATURES], questions[FEATURES] = _distance(*pair, patients[seen])
        few = slice(0, _MOST_CHANGED)
        changed = [joined(_statistics(gather, chosen[few], spec, change)) for change in CHANGES.values()]
        discriminant, scale, questions[CHANGED] = _discriminant(joined(normal), joined(lesioned), changed, of)
        unclear = [name for name, deviation in zip(CHANGES, scale[1], strict=True) if np.isinf(deviation)]
        if unclear:
            left_out.append(f"The gate does not look for images that are {', '.join(unclear)}: they look too much like the others.")
    if scored is not None:
        values, owners = scored[0], np.unique(np.asarray(scored[1]), return_inverse=True)[1]
        if len(np.unique(owners)) >= _FEWEST:
            questions[SCORE] = Question(PatientPValue(-np.asarray(values, float), owners))
        else:
            left_out.append(f"The gate does not look at the detector's scores: fewer than {_FEWEST} patients are held out.")
    if questions and len(questions) / (count + 1) > rate:
        left_out.append(_promise(count, len(questions), rate))
    return Gate(rate, spec, tags, distances, discriminant, scale, questions, left_out)


def _promise(patients: int, questions: int, rate: float) -> str:
    return (
        f"The gate may refuse {100 * rate:g} % of normal images. {patients} patients promise no less than "
        f"{100 * min(1, questions / (patients + 1)):.2g} % whatever they are like ({round(questions / rate) - 1} would promise it); "
        "the rest rests on a normal distribution of its statistics."
    )


def _same(images: np.ndarray, spec: ImageSpec) -> np.ndarray:
    return images


def _statistics(gather: Gather, numbers: np.ndarray, spec: ImageSpec, change: Any) -> dict[str, np.ndarray]:
    pieces = [numbers[begin : begin + _CHUNK] for begin in range(0, len(numbers), _CHUNK)]
    found = [statistics(change(gather(piece), spec), spec) for piece in pieces]
    return {name: np.concatenate([one[name] for one in found]) for name in GROUPS}


def _features(gather: Gather, numbers: np.ndarray, spec: ImageSpec, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) of the images, and of the same images with a lesion."""
    found = []
    for begin in range(0, len(numbers), _CHUNK):
        images = gather(numbers[begin : begin + _CHUNK])
        found.append((features(images), features(with_lesions(images, spec))))
    normal, lesioned = (np.concatenate(each).astype(np.float64) for each in zip(*found, strict=True))
    return normal, lesioned


def _distance(normal: np.ndarray, lesioned: np.ndarray, patients: np.ndarray) -> tuple[Distance, Question]:
    of_normal, of_lesioned = np.empty(len(normal)), np.empty(len(normal))
    for unseen in folds(patients):
        fitted = Distance.fit(normal[~unseen], lesioned[~unseen], patients[~unseen])
        of_normal[unseen], of_lesioned[unseen] = fitted(normal[unseen]), fitted(lesioned[unseen])
    question = Question(PatientPValue(of_normal, patients), PatientPValue(of_lesioned, patients))
    return Distance.fit(normal, lesioned, patients), question


def _discriminant(
    normal: np.ndarray, lesioned: np.ndarray, changed: Sequence[np.ndarray], patients: np.ndarray
) -> tuple[Discriminant, np.ndarray, Question]:
    """The first images were changed; all are judged. A change that unseen images do not tell has an infinite deviation: it never counts."""
    learnt = np.arange(len(normal)) < len(changed[0])

    def fitted(used: np.ndarray) -> Discriminant:
        rows = np.flatnonzero(used & learnt)
        return Discriminant.fit(normal[rows], lesioned[rows], [each[rows] for each in changed], patients[rows])

    of_normal, of_lesioned = (np.empty((len(normal), len(changed))) for _ in range(2))
    for unseen in folds(patients):
        one = fitted(~unseen)
        of_normal[unseen], of_lesioned[unseen] = one(normal[unseen]), one(lesioned[unseen])
    weights = patient_weights(patients)
    mean = weights @ of_normal
    deviation = np.maximum(np.sqrt(weights @ np.square(of_normal - mean)), 1e-3)
    scale = np.stack([mean, np.where(deviation * _APART < -2 * mean, deviation, np.inf)])  # the changed ones lie at -mean
    most = [((of - scale[0]) / scale[1]).max(1) for of in (of_normal, of_lesioned)]
    return fitted(np.ones(len(normal), bool)), scale, Question(*(PatientPValue(values, patients) for values in most))


def _in_turns(patients: np.ndarray) -> np.ndarray:
    """Numbers of all images, one of every patient before the second of any, evenly mixed."""
    order = np.random.default_rng(0).permutation(len(patients))
    seen: dict[int, int] = {}
    turn = np.empty(len(patients), int)
    for number in order.tolist():
        turn[number] = seen[patients[number]] = seen.get(patients[number], -1) + 1
    return order[np.argsort(turn[order], kind="stable")]
