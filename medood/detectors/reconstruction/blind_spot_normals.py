"""What statistics of held-out normal images say about those of another image: how typical they are, and whether a lesion or another kind of
image makes them unusual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from sklearn.svm import OneClassSVM

from medood.detectors.combination.surprise import joined, surprise

DOSE = "rec", "kl", "elbo", "entropy", "gradient", "complexity"
STATISTICS = *DOSE, "bits", "level", "peak"
"""In the order of the columns of every array of statistics."""

JUDGEMENTS = "typicality", "dose", "dose_svm", "shift", "lesion"
"""In the order of the columns of every array of judgements; higher is less normal in all."""

_FOLDS = 10
_FURTHEST = 1e30  # float32 has no room for the density far out


@dataclass(frozen=True, eq=False)
class Normals:
    """Statistics (n, len(STATISTICS)) of held-out normal images, the names of those that DoSE joins, and the one-class SVM on these.

    vectors, duals, offset  of the SVM: support vectors (v, d) in deviations from the mean, their weights (v,), (1,)
    """

    statistics: np.ndarray
    joined: Sequence[str]
    vectors: np.ndarray
    duals: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, statistics: np.ndarray, names: Sequence[str], nu: float) -> Normals:
        """`nu`: the share of normal images that may lie outside the SVM's boundary."""
        scaled = _scaled(_columns(statistics, names), _columns(statistics, names))
        svm = OneClassSVM(nu=nu, gamma=_gamma(scaled)).fit(scaled)
        return cls(statistics, names, svm.support_vectors_, svm.dual_coef_[0], np.atleast_1d(svm.offset_))

    def judge(self, statistics: np.ndarray) -> np.ndarray:
        """(b, len(JUDGEMENTS)) of images with these statistics (b, len(STATISTICS)), none of them among the held-out ones."""
        negative_elbo, known = _columns(statistics, ("elbo",))[:, 0], _columns(self.statistics, ("elbo",))[:, 0]
        asked, normal = _columns(statistics, self.joined), _columns(self.statistics, self.joined)
        dose = -sum(log_density(column, among) for column, among in zip(asked.T, normal.T, strict=True))
        found = np.abs(negative_elbo - known.mean()), dose, self._outside(asked, normal), *self._kinds(statistics)
        return np.clip(np.stack(found, 1), -_FURTHEST, _FURTHEST)

    def _outside(self, asked: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """(b,): how far outside the SVM's boundary; negative inside. Far out all images are equally far."""
        scaled = _scaled(asked, normal)
        distances = np.square(scaled[:, None] - self.vectors[None]).sum(2)
        return self.offset[0] - np.exp(-_gamma(scaled) * distances) @ self.duals

    def _kinds(self, statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(b,) twice: how surprisingly diffuse, and how surprisingly concentrated, what is unusual about an image is.

        What is diffuse changes even what a lesion leaves alone: the median of the error over the body, the divergence and how well the
        image compresses, each in either direction, and the entropy of the residual upwards. A lesion lowers the entropy, and its hottest
        pixels are hot.
        """
        at = {name: (statistics[:, i], self.statistics[:, i]) for i, name in enumerate(STATISTICS)}
        high = {name: surprise(*pair) for name, pair in at.items()}
        low = {name: surprise(-asked, -normal) for name, (asked, normal) in at.items()}
        either = {name: np.maximum(high[name], low[name]) - np.log(2) for name in ("level", "kl", "bits")}
        shift = joined(np.stack([*either.values(), high["entropy"]], 1), "harmonic_mean")
        return shift, joined(np.stack([low["entropy"], high["peak"]], 1), "harmonic_mean")


def judged_by_others(statistics: np.ndarray, patients: np.ndarray, names: Sequence[str], nu: float) -> np.ndarray:
    """(n, len(JUDGEMENTS)) of the held-out images themselves, each judged by images of other patients alone.

    The patients are parted into at most ten folds, and the images of a fold are judged by those of the others, as a new image is by all:
    compared with themselves too, they would look more normal than new normal images do.
    """
    found = np.empty((len(statistics), len(JUDGEMENTS)))
    for fold in _folds(patients):
        found[fold] = Normals.of(statistics[~fold], names, nu).judge(statistics[fold])
    return found


def p_values(asked: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(b,): conformal p-values, (1 + number of normal values (n,) >= it) / (n + 1)."""
    return (1 + (normal[None] >= asked[:, None]).sum(1)) / (len(normal) + 1)


def log_density(values: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(b,): logarithm of the Gaussian kernel density estimate of normal values (n,), Scott's bandwidth. Finite however far out."""
    width = _spread(normal) * len(normal) ** -0.2
    kernels = -0.5 * np.square((values[:, None] - normal[None]) / width)
    return logsumexp(kernels, axis=1) - np.log(len(normal) * width * np.sqrt(2 * np.pi))


def _folds(patients: np.ndarray) -> Iterator[np.ndarray]:
    """bool (n,) each: whole patients; single images where there is but one patient."""
    keys, patient = np.unique(patients, return_inverse=True)
    number, count = (patient, len(keys)) if len(keys) > 1 else (np.arange(len(patients)), len(patients))
    for fold in range(min(count, _FOLDS)):
        yield number % _FOLDS == fold


def _columns(statistics: np.ndarray, names: Sequence[str]) -> np.ndarray:
    return statistics[:, [STATISTICS.index(name) for name in names]]


def _scaled(values: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Columns in deviations from the mean of the normal ones."""
    return (values - normal.mean(0)) / np.array([_spread(column) for column in normal.T])


def _spread(values: np.ndarray) -> float:
    """Standard deviation, and never 0."""
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return max(deviation, 1e-6 * float(np.abs(values).max(initial=0.0)), 1e-12)


def _gamma(scaled: np.ndarray) -> float:
    """Of the SVM's kernel: as many dimensions, as wide."""
    return 1 / scaled.shape[1]
