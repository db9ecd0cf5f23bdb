"""How well scores separate images when what their sharpness explains is taken away.

    python measurements/sharpness_regressed.py TABLE SCORES.csv [SCORES.csv ...]

TABLE has the columns path, label (0, 1), part, and group if patients have several images; each SCORES.csv is what `medood score RUN DATA
--table TABLE --out SCORES.csv` wrote, of all parts. A quadratic in log sharpness (the column plain_sharpness: mean absolute Laplacian at
64 x 64) is fitted to the scores of the normal images of `--fit` (val, the held-out ones: scores of training images can be too low), and
what is left of the test images' scores is ranked. Columns:

AUROC       of the scores
beyond      of what the quadratic leaves
explained   share of the variance of the held-out normals' scores that it takes
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import table

from medood.core.errors import MedoodError
from medood.core.files.table_file import plain_path, read_table
from medood.evaluation.labelled_scores import ScoredRow, read_scores
from medood.metrics.intervals import Estimate, GroupBootstrap
from medood.metrics.ranking import auroc, curve

SHARPNESS = "plain_sharpness"
DEGREE = 2


@dataclass(frozen=True, eq=False)
class Images:
    """Scores, log sharpness, labels and patients of the images of a part; arrays (n,)."""

    scores: np.ndarray
    sharpness: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def auroc(self, scores: np.ndarray) -> Estimate:
        """Higher is anomalous, with a 95 % interval by patient."""
        found = GroupBootstrap(self.groups, self.labels).estimates(lambda weights: {"auroc": auroc(curve(scores, self.labels, weights))})
        return found["auroc"]


@dataclass(frozen=True)
class Quadratic:
    """The fit of scores to log sharpness. Beyond the sharpness that it has seen it stays as it was at the end."""

    coefficients: np.ndarray
    low: float
    high: float

    @classmethod
    def of(cls, normal: Images) -> Quadratic:
        return cls(np.polyfit(normal.sharpness, normal.scores, DEGREE), float(normal.sharpness.min()), float(normal.sharpness.max()))

    def left(self, images: Images) -> np.ndarray:
        return images.scores - np.polyval(self.coefficients, images.sharpness.clip(self.low, self.high))


def images_of(listed: Path, scores: Path, part: str) -> Images:
    """Of the rows of a table that are in a part and were scored. Raises MedoodError when there are too few to fit."""
    rows = {plain_path(row["path"]): row for row in read_table(listed, ("path", "label", "part")) if row["part"] == part}
    found: dict[str, ScoredRow] = {}
    for scored in read_scores(scores):
        if scored.level != "series" and scored.score is not None and scored.key.id in rows:
            found.setdefault(scored.key.id, scored)
    if len(found) <= DEGREE + 1:
        raise MedoodError(f"{scores}: {len(found)} images of the part {part!r} of {listed}: score all parts, without --part.")
    return Images(
        scores=np.array([scored.score for scored in found.values()], dtype=np.float64),
        sharpness=np.log(np.maximum([scored.columns[SHARPNESS] for scored in found.values()], 1e-6)),
        labels=np.array([int(rows[id]["label"]) for id in found]),
        groups=np.array([rows[id]["group"] or id for id in found]),
    )


def row(listed: Path, scores: Path, part: str) -> dict[str, str]:
    held_out, test = images_of(listed, scores, part), images_of(listed, scores, "test")
    normal = Images(*(values[held_out.labels == 0] for values in (held_out.scores, held_out.sharpness, held_out.labels, held_out.groups)))
    fit = Quadratic.of(normal)
    explained = 1 - fit.left(normal).var() / max(normal.scores.var(), 1e-12)
    return {
        "scores": scores.stem,
        "AUROC": said(test.auroc(test.scores)),
        "beyond": said(test.auroc(fit.left(test))),
        "explained": f"{explained:.0%}",
        "sharpness, lower": said(test.auroc(-test.sharpness)),
    }


def said(estimate: Estimate) -> str:
    if estimate.low is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("scores", type=Path, nargs="+")
    parser.add_argument("--fit", default="val", help="part whose normal images the quadratic is fitted to")
    options = parser.parse_args(arguments)
    print(table([row(options.table, scores, options.fit) for scores in options.scores]))


if __name__ == "__main__":
    main()
