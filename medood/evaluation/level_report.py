"""What is found out about the scores of one level: image, slice or series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medood.evaluation.labelled_scores import LabelledRows
from medood.metrics.bands import Band
from medood.metrics.intervals import Estimate
from medood.metrics.ranking import Curve

PLAIN = "plain_"


@dataclass(frozen=True)
class Ranking:
    """How one column ranks the rows. Of trivial features also the better of both directions; of parts and features the paired
    `difference`: AUROC of the score minus that of the column (in its better direction, if it is a trivial feature)."""

    auroc: Estimate
    average_precision: Estimate
    fpr_at_95_tpr: Estimate | None = None
    better_auroc: Estimate | None = None
    better_direction: str | None = None
    difference: Estimate | None = None


@dataclass(frozen=True)
class Operating:
    """Rates at a threshold: share of anomalous rows (tpr) and of normal rows (fpr) that are called anomalous; None without such rows."""

    threshold: float | None
    tpr: Estimate | None
    fpr: Estimate | None


@dataclass(frozen=True)
class Refused:
    """Rows that the run decided nothing about, for they are unlike its training images, and their share in each class."""

    normal: int
    anomalous: int
    of_normal: Estimate | None
    of_anomalous: Estimate | None


@dataclass(frozen=True)
class Seen:
    """Rows of images that the run was trained or calibrated on, by id or as near-copies; `score` ranks the other rows, where it can."""

    normal: int
    anomalous: int
    score: Ranking | None


@dataclass(frozen=True, eq=False)
class LevelReport:
    """Everything about one level. `score`, `columns` and `oracle` need both classes; `reason` says which is missing.

    run            rates of the run's own decisions, or None when it made none
    oracle         rates at the G-mean threshold chosen on these very labels: optimistic, for comparison with publications only
    out_of_domain  None when there are no such rows;  seen  likewise
    points         the curves behind the numbers, by column;  roc_band, precision_band  of the curves of the score; none of these is
                   written to evaluation.json
    """

    level: str
    normal: int
    anomalous: int
    patients: int
    run: Operating | None
    score: Ranking | None
    columns: Mapping[str, Ranking]
    oracle: Operating | None
    out_of_domain: Refused | None
    seen: Seen | None
    reason: str
    warnings: tuple[str, ...]
    rows: LabelledRows
    points: Mapping[str, Curve]
    roc_band: Band | None
    precision_band: Band | None
