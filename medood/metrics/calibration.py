"""From scores of held-out normal images to a threshold with a stated false-alarm rate. Anomalous images play no part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from scipy import optimize, stats

from medood.core.errors import CalibrationError
from medood.core.map_scale import MapScale
from medood.metrics.intervals import MIN_PATIENTS, clustered_rate, effective_size
from medood.metrics.ranking import finite
from medood.metrics.sampling import PixelSample


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the scores of n held-out normal images say about a new score.

    scores            float64 (n,) ascending
    false_alarm_rate  the share of new normal images that may be called anomalous, as asked for
    threshold         an image is anomalous when its score lies strictly above this; equivalent to p_value <= false_alarm_rate
    patients          how many patients the n images come from
    interval          95 % interval of the true false-alarm rate at `threshold`, or None, and then `interval_reason` says why
    map_scale         colour scale of the maps, or None for a method without maps

    The p-value is conformal (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005): over calibrations, a new normal
    image of a new patient gets p <= a with a probability of at most a, provided that it is exchangeable with the held-out images, as it is
    with one image per patient. Several images of a patient resemble each other, and then few patients promise less: false alarms are more
    than asked for (measurements/false_alarms.py), and the interval, which counts patients, says how far a calibration may be off.
    """

    scores: np.ndarray
    false_alarm_rate: float
    threshold: float
    patients: int
    interval: tuple[float, float] | None
    interval_reason: str = ""
    map_scale: MapScale | None = None

    @classmethod
    def fit(cls, scores: np.ndarray, groups: np.ndarray, false_alarm_rate: float = 0.05) -> Calibration:
        """Calibrate on held-out normal scores (n,) of patients `groups` (n,).

        Raises CalibrationError when n is too small for the rate, MedoodError when a score is not finite.
        """
        scores, groups = finite(scores), np.asarray(groups)
        if not 0 < false_alarm_rate < 1:
            raise CalibrationError(f"The false-alarm rate must lie between 0 and 1, found {false_alarm_rate:g}: ask for 0.05, say.")
        if scores.shape != groups.shape:
            raise CalibrationError(f"Every held-out score needs its patient: found {scores.size} scores and {groups.size} groups.")
        ordered, n = np.sort(scores), scores.size
        allowed = math.floor((n + 1) * false_alarm_rate + 1e-9)  # the smallest p-values, 1 / (n + 1) each, that stay within the rate
        if allowed < 1:
            raise CalibrationError(_too_few(n, false_alarm_rate))
        threshold = float(ordered[n - allowed])
        patients = len(np.unique(groups))
        interval, reason = _rate_interval(scores >= threshold, groups, patients, allowed)
        return cls(ordered, false_alarm_rate, threshold, patients, interval, reason)

    def p_value(self, scores: np.ndarray) -> np.ndarray:
        """(1 + number of held-out normal scores >= score) / (n + 1) for scores of any shape: small is anomalous, never 0."""
        scores = finite(scores)
        return (1 + self.scores.size - np.searchsorted(self.scores, scores, side="left")) / (self.scores.size + 1)

    def anomalous(self, scores: np.ndarray) -> np.ndarray:
        """Bool, of the shape of the scores: above the threshold."""
        return finite(scores) > self.threshold

    def with_maps(self, scale: MapScale) -> Calibration:
        return replace(self, map_scale=scale)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts for JSON; `from_dict` gives back the same bits."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        interval = None if self.interval is None else list(self.interval)
        scale = None if self.map_scale is None else asdict(self.map_scale)
        return {**plain, "scores": self.scores.tolist(), "interval": interval, "map_scale": scale}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Raises CalibrationError when an entry is missing or unknown."""
        expected = {field.name for field in fields(cls)}
        if set(values) != expected:
            raise CalibrationError(
                f"A stored calibration must have the entries {', '.join(sorted(expected))}, found {', '.join(sorted(values))}: "
                "the file was altered or written by another version; calibrate again."
            )
        interval = None if values["interval"] is None else tuple(map(float, values["interval"]))
        scale = None if values["map_scale"] is None else MapScale(**values["map_scale"])
        scores = np.asarray(values["scores"], dtype=np.float64)
        return cls(**{**values, "scores": scores, "interval": interval, "map_scale": scale})


def expected_rate(interval: tuple[float, float], called: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Between which shares of new normal rows a run calls anomalous, 19 times in 20, if they are like those it was calibrated on.

    interval  95 % interval of the true rate, from the calibration;  called  bool (n,) new normal rows that were;  groups  (n,) patients

    The true rate is taken as Beta distributed with that interval, which is exact for one held-out image per patient, and the rows that are
    called as binomial with that rate and the effective number of the new rows.
    """
    rows = max(1, round(effective_size(called, groups)))
    low, high = stats.betabinom.ppf((0.025, 0.975), rows, *_beta_with(interval)) / rows
    return float(low), float(high)


def _beta_with(interval: tuple[float, float]) -> tuple[float, float]:
    """Parameters of the Beta distribution with these quantiles of 2.5 % and 97.5 %."""
    low, high = np.clip(interval, 1e-9, 1 - 1e-9)
    mean, deviation = (low + high) / 2, max(high - low, 1e-9) / 4
    size = max(mean * (1 - mean) / deviation**2 - 1, 0.1)

    def miss(logarithms: np.ndarray) -> np.ndarray:
        found = stats.beta.ppf((0.025, 0.975), *np.exp(logarithms))
        return np.log(np.clip(found, 1e-12, 1)) - np.log((low, high))

    found = optimize.least_squares(miss, np.log((mean * size, (1 - mean) * size)), bounds=(-7, 20))
    first, second = np.exp(found.x)
    return float(first), float(second)


def fit_map_scale(maps: Iterable[np.ndarray], *, exceeded: float = 0.01, seed: int = 0) -> MapScale:
    """The colour scale from the map values of held-out normal foreground pixels, one array of any shape per image.

    `threshold` = `low` = the value that the share `exceeded` of all pixels exceeds, and `high` = threshold + (q99.9 - q50), quantiles of
    the same pixels: on FLAIR intensities this puts most of the tumour between the ends of the scale. Memory is bounded: beyond a
    million pixels the quantiles come from a uniform sample, which moves the share exceeded by less than 0.03 percentage points.
    Raises CalibrationError when there are no pixels or one is not finite.
    """
    sample = PixelSample(seed=seed)
    for values in maps:
        if not np.isfinite(values).all():
            raise CalibrationError("A map of a held-out normal image holds a value that is not finite: look for a diverged training.")
        sample.add(values)
    pixels = sample.values.astype(np.float64)
    if not pixels.size:
        raise CalibrationError("The colour scale needs maps of held-out normal images, found no pixel: check the foreground.")
    middle, top = np.quantile(pixels, (0.5, 0.999))
    threshold = float(np.quantile(pixels, 1 - exceeded, method="higher"))
    width = float(top - middle) or abs(threshold) or 1.0  # maps that are constant on normal images still need two ends
    return MapScale(threshold, threshold + width, threshold)


def _rate_interval(above: np.ndarray, groups: np.ndarray, patients: int, allowed: int) -> tuple[tuple[float, float] | None, str]:
    """Interval of the true rate above an order statistic: exactly Beta(k, n + 1 - k) for one image per patient and scores without ties
    (with ties the rate is lower); otherwise from the spread between patients."""
    if patients < MIN_PATIENTS:
        return None, f"an interval needs at least {MIN_PATIENTS} patients among the held-out normals, found {patients}"
    if patients == groups.size:
        low, high = stats.beta.ppf((0.025, 0.975), allowed, groups.size + 1 - allowed)
        return (float(low), float(high)), ""
    rate = clustered_rate(above, groups)
    return (None, rate.reason) if rate.low is None or rate.high is None else ((rate.low, rate.high), "")


def _too_few(found: int, rate: float) -> str:
    needed = math.ceil(1 / rate - 1e-9) - 1
    return (
        f"A false-alarm rate of {100 * rate:g} % needs at least {needed} held-out normal images, found {found}: hold out more normal "
        f"images for calibration, or ask for a rate of at least {100 / (found + 1):.3g} %."
    )
