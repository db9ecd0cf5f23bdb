"""What kind of image a file says it is, in few words of our own: nothing of free text, which may name a person, leaves here."""

from __future__ import annotations

import re

_WEIGHTINGS = (
    ("FLAIR", r"flair|dark.?fluid"),
    ("DWI", r"dwi|adc|diff|trace"),
    ("SWI", r"swi|swan|t2.?star|t2\*"),
    ("T1", r"t1|mp.?rage|bravo|spgr|tfl3d"),
    ("T2", r"t2"),
    ("PD", r"(^|[^a-z])pd([^a-z]|$)|proton"),
)
_BODY_PARTS = {"head": ("HEAD", "BRAIN", "SKULL"), "chest": ("CHEST", "THORAX", "LUNG", "LUNGS"), "abdomen": ("ABDOMEN", "LIVER")}
_VIEWS = {"frontal": ("AP", "PA", "FRONTAL"), "lateral": ("LL", "RL", "LAT", "LATERAL")}


def weighting_in(description: str) -> str:
    """The weighting that the description of an MR series, or the name of a file, speaks of; empty for none."""
    return next((name for name, words in _WEIGHTINGS if re.search(words, description.lower())), "")


def body_part(code: str) -> str:
    """BodyPartExamined with the parts that mean the same called the same; empty for none."""
    return next((name for name, codes in _BODY_PARTS.items() if code.upper() in codes), code.lower())


def view(code: str) -> str:
    """ViewPosition with front and back called the same; empty for none."""
    return next((name for name, codes in _VIEWS.items() if code.upper() in codes), code.lower())
