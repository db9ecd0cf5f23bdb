"""What a run says of an entry, in a few words for whoever looks at its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_KEYS = ("score", "p_value", "decision", "domain_reason", "issues", "examined")
_DECISIONS = {"out_of_domain": "OUT OF DOMAIN: neither normal nor anomalous can be said of it", "": "no decision on the whole"}


@dataclass(frozen=True)
class Verdict:
    """The row of a series or an image in scores.csv; `slices` are the scored ones by their native index: score and p-value or None."""

    score: float | None = None
    p_value: float | None = None
    decision: str = ""
    domain_reason: str = ""
    issues: str = ""
    examined: float = 1.0
    slices: Mapping[int, tuple[float, float | None]] | None = None

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Verdict:
        """From all rows of an entry."""
        scored = [row for row in rows if row["status"] == "ok" and row["level"] != "series"]
        slices = {int(row["slice"] or 0): (row["score"], row.get("p_value")) for row in scored}
        known = {key: rows[-1][key] for key in _KEYS if rows[-1].get(key) not in (None, "")}
        return cls(**known, slices=slices)

    @classmethod
    def of_line(cls, line: Mapping[str, Any]) -> Verdict:
        """From a line of maps.jsonl; of an empty one when it has none."""
        slices = dict(zip(line["slices"], zip(line.get("scores", ()), line.get("p_values", ()), strict=True), strict=False))
        return cls(**line.get("verdict", {}), slices=slices)

    def to_dict(self) -> dict[str, Any]:
        """What a line of maps.jsonl holds of it."""
        slices = (self.slices or {}).values()
        values = {key: getattr(self, key) for key in _KEYS}
        return {"verdict": values, "scores": [score for score, _ in slices], "p_values": [p for _, p in slices]}

    @property
    def headline(self) -> str:
        """Score, p-value and decision; empty when there is no score."""
        if self.score is None:
            return ""
        p_value = "" if self.p_value is None else f"   p {_small(self.p_value)}"
        return f"score {self.score:.4g}{p_value}   {_DECISIONS.get(self.decision, self.decision)}"

    @property
    def banner(self) -> str:
        """What stands across the picture; empty where the map may be believed."""
        return "OUT OF DOMAIN" if self.decision == "out_of_domain" else ""

    @property
    def warnings(self) -> list[str]:
        """What to know before the map is believed, a sentence each."""
        said = []
        if self.domain_reason:
            said.append(f"Of another kind than the training images: {self.domain_reason}.")
        if self.examined < 0.9995:
            said.append(f"{1 - self.examined:.1%} was not examined (hatched).")
        if self.issues:
            said.append(f"Issues: {self.issues.replace(';', ', ')}.")
        return said

    def of_slice(self, number: int) -> str:
        """Score and p-value of one slice; empty when they are not known."""
        score, p_value = (self.slices or {}).get(number, (None, None))
        if score is None:
            return ""
        return f"{score:.3g}" + ("" if p_value is None else f", p {_small(p_value)}")


def _small(p_value: float) -> str:
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.2g}"
