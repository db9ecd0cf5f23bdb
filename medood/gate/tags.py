"""What headers say of an image against what they said of the training images, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_KIND = ("modality", "weighting", "body_part", "view", "channels", "plane")
"""Tags that make the kind of an image: one that no training image has means another kind."""

_SAID = ("plane", "view", "weighting", "modality", "body_part")  # in this order

_RANGES = {"pixel_mm": 1.5, "kvp": 1.3}
"""Tags that may lie outside the range of the training images by so many times."""


def fit_tags(facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the training and held-out images are, by tag; a tag that none of them has is left out."""
    known = {tag: sorted({f[tag] for f in facts if f[tag]}) for tag in (*_KIND, "manufacturer")}
    ranges = {}
    for tag in _RANGES:
        values = [value for f in facts for value in _numbers(f[tag])]
        if values:
            ranges[tag] = [min(values), max(values)]
    pictures = any(not f["plane"] for f in facts)
    return {**{tag: values for tag, values in known.items() if values}, **ranges, "pictures": pictures}


def missing_tags(tags: dict[str, Any]) -> list[str]:
    """The tags that no training image has, as one says them."""
    wanted = (*(tag for tag in _KIND if tag != "channels"), "manufacturer", *_RANGES)
    return [tag.replace("_mm", " size").replace("_", " ").replace("kvp", "kVp") for tag in wanted if tag not in tags]


def differences(tags: dict[str, Any], facts: dict[str, Any], plane_is_chosen: bool) -> list[str]:
    """Why an image with these facts is of another kind; empty if it is not. What a file does not say is not held against it.

    `plane_is_chosen`: the transforms cut the volume in a plane of their own, so the plane of acquisition does not matter.
    """
    judged = [tag for tag in _KIND if not (tag == "plane" and plane_is_chosen)]
    other = [tag for tag in judged if facts[tag] and tag in tags and facts[tag] not in tags[tag]]
    reasons = []
    if "channels" in other:
        other.remove("channels")
        reasons.append("a colour image, trained on grey ones" if facts["channels"] == 3 else "a grey image, trained on colour ones")
    if other:
        reasons.append(f"{_named(facts, other)}, trained on {_named_all(tags, other)}")
    elif facts["plane"] and "plane" not in tags and not plane_is_chosen and tags["pictures"]:
        reasons.append(f"{_named(facts, ['plane', 'modality'])}, trained on pictures")
    for tag, times in _RANGES.items():
        values = _numbers(facts[tag])
        if tag in tags and any(not tags[tag][0] / times <= value <= tags[tag][1] * times for value in values):
            reasons.append(_out_of_range(tag, values, tags[tag]))
    if reasons and facts["manufacturer"] and "manufacturer" in tags and facts["manufacturer"] not in tags["manufacturer"]:
        reasons.append(f"from {facts['manufacturer']}, trained on images from {_either(tags['manufacturer'])}")
    return reasons


def _named(facts: dict[str, Any], tags: Iterable[str]) -> str:
    """As one says it: a sagittal T1-weighted head."""
    words = [_word(tag, facts[tag]) for tag in _SAID if tag in tags and facts[tag]]
    if words and "body_part" not in tags and "modality" not in tags:
        words.append("image")
    return f"{'an' if words[0][:1] in 'aeioAEIO' else 'a'} {' '.join(words)}"


def _named_all(tags: dict[str, Any], which: Iterable[str]) -> str:
    named = [
        _either([_word(tag, value) for value in tags[tag]])
        for tag in ("plane", "view", "weighting", "modality", "body_part")
        if tag in which
    ]
    return " ".join(named)


def _word(tag: str, value: str) -> str:
    return f"{value}-weighted" if tag == "weighting" and value in ("T1", "T2", "PD") else value


def _either(values: Sequence[str]) -> str:
    return "/".join(values)


def _out_of_range(tag: str, values: Sequence[float], ends: Sequence[float]) -> str:
    if tag == "kvp":
        return f"{values[0]:g} kVp, trained on {ends[0]:g} to {ends[1]:g} kVp"
    return f"pixels of {values[0]:.2f} x {values[1]:.2f} mm, trained on {ends[0]:.2f} to {ends[1]:.2f} mm"


def _numbers(value: Any) -> list[float]:
    return [] if not value else list(value) if isinstance(value, (list, tuple)) else [float(value)]
