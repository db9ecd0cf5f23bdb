"""How far statistics of an image lie from those of normal images, in units of how these vary from patient to patient and with lesions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_SHRINKAGE = 0.5  # of covariances towards their own diagonal
_FLOOR = 0.05  # of the typical spread of all statistics: what hardly varies among the training images may vary by so much all the same
_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Distance:
    """The logarithm of the Mahalanobis distance to `mean` (d,), with `whitening` (d, d): large is far."""

    mean: np.ndarray
    whitening: np.ndarray

    @classmethod
    def fit(cls, normal: np.ndarray, lesioned: np.ndarray, patients: np.ndarray) -> Distance:
        """From statistics (n, d) of normal images and of the same images with a lesion; every patient counts as much.

        The covariance is that of the normal images, plus what a lesion changes: so the directions of lesions count for little.
        """
        weights = patient_weights(patients)[:, None]
        mean = (weights * normal).sum(0)
        spread, correlation = _spread([normal - mean, lesioned - normal], weights)
        values, vectors = np.linalg.eigh(correlation)
        return cls(mean, vectors / np.sqrt(np.maximum(values, 1e-6)) / spread[:, None])

    def __call__(self, statistics: np.ndarray) -> np.ndarray:
        """(n,) of (n, d)."""
        return 0.5 * np.log(np.square((statistics - self.mean) @ self.whitening).sum(1) + 1e-12)


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Linear discriminants, one for each change of a whole image: -0.5 as the normal images are, 0.5 as they are once changed.

    axes  (d, changes);  middle  (changes,);  apart  (changes,) squared Mahalanobis distances between changed and normal images
    """

    axes: np.ndarray
    middle: np.ndarray
    apart: np.ndarray

    @classmethod
    def fit(cls, normal: np.ndarray, lesioned: np.ndarray, changed: Sequence[np.ndarray], patients: np.ndarray) -> Discriminant:
        """From statistics (n, d) of normal images, and of the same images with a lesion and after each change."""
        weights = patient_weights(patients)[:, None]
        mean, means = (weights * normal).sum(0), [(weights * each).sum(0) for each in changed]
        share = 1 / np.sqrt(len(changed))
        scatter = [normal - mean, lesioned - normal, *((each - its) * share for each, its in zip(changed, means, strict=True))]
        spread, correlation = _spread(scatter, weights)
        gaps = (np.stack(means, 1) - mean[:, None]) / spread[:, None]
        axes = np.linalg.solve(correlation, gaps) / spread[:, None]
        apart = np.maximum((gaps * axes * spread[:, None]).sum(0), 1e-9)
        axes = axes / apart
        return cls(axes, ((np.stack(means, 1) + mean[:, None]) / 2 * axes).sum(0), apart)

    def __call__(self, statistics: np.ndarray) -> np.ndarray:
        """(n, changes) of (n, d)."""
        return statistics @ self.axes - self.middle

    def likeliest(self, values: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(n,) which change it is, of (n, changes) values and those that count (changes,).

        A value times `apart` is the logarithm of how much likelier the changed images are to look so than the normal ones.
        """
        return np.where(known, values * self.apart, -np.inf).argmax(1)


def folds(patients: np.ndarray) -> Iterator[np.ndarray]:
    """Bool (n,) of each part of the patients in turn: one patient, or a tenth of them."""
    names, number = np.unique(patients, return_inverse=True)
    part = np.random.default_rng(0).permutation(len(names)) % min(_FOLDS, len(names))
    for each in np.unique(part):
        yield part[number] == each


def patient_weights(patients: np.ndarray) -> np.ndarray:
    """(n,) that sum to 1, every patient's together as much as any other's."""
    _, number, counts = np.unique(patients, return_inverse=True, return_counts=True)
    return 1.0 / (counts[number] * len(counts))


def _spread(scatter: Sequence[np.ndarray], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The standard deviations (d,) of summed scatters (n, d) around 0, and their shrunk correlations (d, d)."""
    spread = np.sqrt(sum((weights * each**2).sum(0) for each in scatter))
    spread = np.maximum(spread, max(_FLOOR * float(np.sqrt(np.square(spread).mean())), 1e-6))
    correlation = sum((each / spread * weights).T @ (each / spread) for each in scatter)
    return spread, (1 - _SHRINKAGE) * correlation * (1 - np.eye(len(spread))) + np.eye(len(spread))
