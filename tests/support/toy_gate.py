"""A gate without training: it refuses images that are brighter than it has seen, and nothing else."""

from __future__ import annotations

import numpy as np

from medood.core.detector import ImageSpec
from medood.gate.conformal import PatientPValue
from medood.gate.distance import Distance
from medood.gate.gate import Gate, Question
from medood.gate.statistics import statistics

TAGS = {"channels": [1], "plane": ["axial"], "pictures": True}


def toy_gate(spec: ImageSpec, rate: float = 0.01) -> Gate:
    """Refuses by the median grey value alone: usual up to 0.8 of the range, by a hundred and fifty patients."""
    length = statistics(np.full((1, *spec.shape), spec.low, np.float32), spec)["values"].shape[1]
    whitening = np.zeros((length, length))
    whitening[3, 3] = 1.0
    levels = np.linspace(1e-3, 0.8, 150)
    question = Question(PatientPValue(np.log(levels), np.arange(150)))
    return Gate(rate, spec, TAGS, {"values": Distance(np.zeros(length), whitening)}, None, None, {"values": question})
