"""p-values by patient: how unusual a value is among those of normal patients that the statistic was not fitted on."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

from medood.gate.distance import patient_weights


class PatientPValue:
    """p-values of large values, from values (n,) of normal images of `patients` (n,): small is unusual, never 0.

    Down to 1 / (number of patients + 1) they are conformal for images of patients (Lee, Barber and Willett, Distribution-free inference
    with hierarchical data, 2023): an image drawn from a new patient, exchangeable with these, gets p <= a with a probability of at most
    a, whatever the distribution and however alike the images of a patient are. Below, where no value of theirs is as large, they are
    those of a new patient's value under a normal distribution between and within patients (Student's t, with Satterthwaite's degrees of
    freedom for the two variances), never more than 1 / (number of patients + 1): what few patients cannot promise rests on that.
    """

    def __init__(self, values: np.ndarray, patients: np.ndarray) -> None:
        order = np.argsort(values)
        self.values, self.patients = values, patients
        self.count = len(np.unique(patients))
        self._ordered = values[order]
        self._share_below = np.concatenate([[0.0], np.cumsum(patient_weights(patients)[order])])
        self._normal = _between_and_within(values, patients)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(m,) of (m,)."""
        below = self._share_below[np.searchsorted(self._ordered, values, side="left")]
        conformal = (1 + self.count * np.clip(1 - below, 0, 1)) / (self.count + 1)
        beyond = values > self._ordered[-1]
        return np.where(beyond, np.minimum(conformal, self._tail(values)), conformal) if beyond.any() else conformal

    def _tail(self, values: np.ndarray) -> np.ndarray:
        mean, deviation, freedom = self._normal
        return np.maximum(stdtr(freedom, (mean - values) / deviation), 1e-300) if freedom else np.ones(len(values))


def _between_and_within(values: np.ndarray, patients: np.ndarray) -> tuple[float, float, float]:
    """Mean over patients, the deviation of a new patient's value from it, and its degrees of freedom; 0 of them where nothing is known."""
    _, number, counts = np.unique(patients, return_inverse=True, return_counts=True)
    count, images = len(counts), len(values)
    means = np.bincount(number, values) / counts
    mean = float(means.mean())
    if count < 2:
        return mean, 1.0, 0.0
    typical = count / float((1 / counts).sum())  # images of a patient, harmonic mean
    between = float(typical * means.var(ddof=1))  # mean squares: expected within + typical * variance of patients
    within = float(np.square(values - means[number]).sum() / (images - count)) if images > count else 0.0
    parts = between / typical, within * (1 - 1 / typical)
    total = max(sum(parts), 1e-18)
    squares = parts[0] ** 2 / (count - 1) + (parts[1] ** 2 / (images - count) if images > count else 0.0)
    return mean, float(np.sqrt(total + between / typical / count)), float(total**2 / max(squares, 1e-36))
