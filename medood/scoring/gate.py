"""Is this the kind of input that the run was trained on? Asked before the score, from facts of the acquisition and the grey values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def fit_gate(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The ranges of the facts over the training and held-out normal volumes, kept in the run."""
    table = np.array([[f["body_share"], *f["percentiles"]] for f in facts], float)
    spacings = np.array([f["pixel_mm"] for f in facts if f["pixel_mm"]], float)
    return {
        "modality": sorted({f["modality"] for f in facts if f["modality"]}),
        "channels": sorted({f["channels"] for f in facts}),
        "plane": sorted({f["plane"] or "" for f in facts}),
        "pixel_mm": [spacings.min(0).tolist(), spacings.max(0).tolist()] if len(spacings) else None,
        "low": table.min(0).tolist(),
        "high": table.max(0).tolist(),
    }


def unlike_training(gate: dict[str, Any], facts: dict[str, Any], plane_is_chosen: bool) -> list[str]:
    """Reasons, in words, why this input is not of the kind that the run was trained on; empty if it is.

    `plane_is_chosen`: the transforms cut the volume in a plane of their own, so the plane of acquisition does not matter.
    Grey values and the body's share may leave the training range by half its width plus a tenth of the promised range.
    """
    reasons = []
    if gate["modality"] and facts["modality"] and facts["modality"] not in gate["modality"]:
        reasons.append(f"modality {facts['modality']}, trained on {'/'.join(gate['modality'])}")
    if facts["channels"] not in gate["channels"]:
        reasons.append("a colour image, trained on grey ones" if facts["channels"] == 3 else "a grey image, trained on colour ones")
    if facts["modality"] and not gate["modality"] and facts["plane"] and "" in gate["plane"]:
        reasons.append(f"modality {facts['modality']}, trained on pictures")
    if not plane_is_chosen and (facts["plane"] or "") not in gate["plane"]:
        reasons.append(f"{facts['plane'] or 'no'} plane, trained on {'/'.join(p or 'pictures without one' for p in gate['plane'])}")
    if gate["pixel_mm"] and facts["pixel_mm"]:
        low, high = np.array(gate["pixel_mm"])
        found = np.array(facts["pixel_mm"])
        if (found < low / 1.5).any() or (found > high * 1.5).any():
            reasons.append(f"pixels of {found[0]:.2f} x {found[1]:.2f} mm, trained on {low[0]:.2f} to {high[0]:.2f} mm")
    low, high = np.array(gate["low"]), np.array(gate["high"])
    values = np.array([facts["body_share"], *facts["percentiles"]])
    slack = 0.5 * (high - low) + 0.1
    outside = (values < low - slack) | (values > high + slack)
    if outside[0]:
        reasons.append(f"the body fills {values[0]:.0%} of the image, trained on {low[0]:.0%} to {high[0]:.0%}")
    if outside[1:].any():
        reasons.append("grey values unlike those of the training images")
    return reasons
