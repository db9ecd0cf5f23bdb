"""What scores.json keeps of the scores that a run was calibrated on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MOST = 2000


def held_out_scores(scores: Sequence[float]) -> list[float]:
    """At most 2,000 of ascending scores, evenly by rank, with the digits that a histogram needs."""
    if not len(scores):
        return []
    ranks = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), _MOST)).round().astype(int))
    return [float(f"{scores[rank]:.6g}") for rank in ranks]
