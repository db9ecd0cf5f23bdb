"""The rows of scores.csv, and what stands in scores.json beside it, as the page needs them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.files.table_file import Row, mistakes_of, read_table, unguarded
from medood.core.issue_codes import explained

COLUMNS = ("level", "id", "slice", "score", "p", "decision", "domain", "why", "issues", "examined", "status")
"""What the page is told of a row, in this order."""

_NUMBERS = ("slice", "score", "p_value", "domain_p", "examined")
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True)
class Cohort:
    """rows as COLUMNS; facts of the run, from scores.json, empty where there is none."""

    rows: list[list[Any]]
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """What the page's script reads."""
        issues = sorted({code for row in self.rows for code in row[COLUMNS.index("issues")].split(";") if code})
        return {
            "columns": COLUMNS,
            "rows": self.rows,
            "issues": {code: explained(code) for code in issues},
            "normals": self.facts.get("held_out_scores") or {},
            "thresholds": {"image": self.facts.get("threshold"), "series": self.facts.get("series_threshold")},
        }

    def hottest(self, known: Sequence[str], count: int) -> list[str]:
        """At most `count` of the ids that are `known`, those with the highest scores first."""
        scores = {row[1]: row[3] for row in self.rows if row[0] != "slice" and row[3] is not None}
        ranked = [identifier for identifier in known if identifier in scores]
        return sorted(ranked, key=lambda identifier: -scores[identifier])[:count]

    @property
    def remarks(self) -> list[str]:
        """What to know before any score is believed, a sentence each."""
        whole = [dict(zip(COLUMNS, row, strict=True)) for row in self.rows if row[0] != "slice"]
        scored = [row for row in whole if row["status"] == "ok"]
        failed = sum(row["status"] == "error" for row in whole)
        shares = [row["examined"] for row in scored if row["examined"] is not None]
        unlike = [row for row in scored if row["domain"] == "no"]
        said = [f"{len(scored)} series or images were scored{f', {failed} could not be' if failed else ''}."]
        if shares:
            mean = f"between {min(shares):.1%} and {max(shares):.1%} (on average {float(np.mean(shares)):.1%})"
            share = mean if min(shares) < max(shares) else f"{shares[0]:.1%}"
            said.append(f"Of the body, {share} was examined in each; what was not is hatched.")
        if unlike:
            said.append(
                f"{len(unlike)} inputs are unlike those of the training; nothing can be said of them: filter by \u201cin domain\u201d."
            )
        elif scored and any(row["domain"] for row in scored):
            said.append("No input was found unlike those of the training.")
        if not self.facts:
            said.append("There is no scores.json beside the table: run, threshold and held-out normal scores are not known.")
        elif not self.facts.get("held_out_scores"):
            said.append(
                "scores.json does not hold the scores of the held-out normal images, so they are not drawn: score again with this medood."
            )
        if self.facts.get("complete") is False:
            said.append("The scoring did not finish: medood score --resume completes it.")
        return said


def read_cohort(scores: Path) -> Cohort:
    """Raises TableError when it is no table of scores; columns that another version of medood did not write are empty."""
    hint = "This is not a scores.csv of `medood score`."
    with mistakes_of(scores) as mistakes:
        rows = [_row(row, mistakes) for row in read_table(scores, ("level", "id", "score"), hint=hint)]
    return Cohort(rows, _facts(scores.with_suffix(".json")))


def _facts(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _row(row: Row, mistakes: Any) -> list[Any]:
    numbers: dict[str, float | None] = {}
    for name in _NUMBERS:
        try:
            value = float(row[name]) if row[name] else None
        except ValueError:
            mistakes.add(row.line, f"{name} is {row[name]!r}; it must be a number.")
            value = None
        numbers[name] = value if value is None or np.isfinite(value) else None
    return [
        row["level"],
        unguarded(row["id"]),
        None if numbers["slice"] is None else int(numbers["slice"]),
        numbers["score"],
        numbers["p_value"],
        row["decision"],
        _domain(row),
        unguarded(row["domain_reason"] or row["reason"]),
        unguarded(row["issues"]),
        numbers["examined"],
        row["status"] or ("ok" if numbers["score"] is not None else ""),
    ]


def _domain(row: Row) -> str:
    """yes, no, or nothing where it is not known."""
    told = row["in_domain"].lower()
    return "yes" if told in _TRUE else "no" if told in _FALSE else ""
