"""What throws doubt on the numbers of a level, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from medood.evaluation.labelled_scores import LabelledRows
from medood.evaluation.level_report import PLAIN, Ranking, Seen
from medood.metrics.calibration import expected_rate

_SAME_ORDER = 0.9


def calibration_doubts(rows: LabelledRows, interval: tuple[float, float] | None) -> list[str]:
    """A sentence when normal rows are called anomalous more or less often than the run's calibration allows for, in 1 of 20 by chance.

    Only rows that are new to the run and that it decided on can tell. `interval` is the calibration's 95 % interval of the rate.
    """
    new = (rows.labels == 0) & ~rows.seen & ~rows.out_of_domain
    if interval is None or rows.flagged is None or not new.any():
        return []
    low, high = expected_rate(interval, rows.flagged[new], rows.groups[new])
    found = rows.flagged[new].mean()
    if low <= found <= high:
        return []
    return [
        f"{rows.level}: {found:.1%} of the normal rows were called anomalous, where the calibration of the run lets expect {low:.1%} "
        f"to {high:.1%} (95 %): these images differ from the normal images that it was calibrated on."
    ]


def seen_doubts(rows: LabelledRows, seen: Seen | None, score: Ranking | None) -> list[str]:
    """A sentence when the run has seen some of the images that it is judged by."""
    if seen is None:
        return []
    shares = [
        f"{count / np.count_nonzero(rows.labels == label):.0%} of the {name} rows ({count})"
        for label, name, count in ((0, "normal", seen.normal), (1, "anomalous", seen.anomalous))
        if count
    ]
    without = " and too few others are left to rank"
    if seen.score and score:
        without = f": without them the AUROC is {seen.score.auroc.value:.3f} instead of {score.auroc.value:.3f}"
    return [f"{rows.level}: {' and '.join(shares)} are images that the run was trained or calibrated on, or near-copies of them{without}."]


def ranking_doubts(rows: LabelledRows, score: Ranking | None, columns: Mapping[str, Ranking]) -> list[str]:
    """Sentences on a score that is inverted, or no better or no other than a trivial feature."""
    warnings = []
    if np.ptp(rows.scores) == 0 and len(rows.scores) > 1:
        warnings.append(f"{rows.level}: all {len(rows.scores)} scores are the same.")
    elif score and score.auroc.value < 0.5:
        warnings.append(
            f"{rows.level}: AUROC {score.auroc.value:.3f} is below 0.5: NORMAL ROWS SCORE HIGHER THAN ANOMALOUS ONES. The score is not "
            "turned round; the detector measures something else than anomaly here."
        )
    for name, values in rows.columns.items():
        if not name.startswith(PLAIN):
            continue
        if score and (better := columns[name].better_auroc) and better.value >= score.auroc.value:
            direction = columns[name].better_direction
            warnings.append(
                f"{rows.level}: the trivial feature {name} ({direction} is anomalous) reaches AUROC {better.value:.3f} and is not beaten "
                f"by the score ({score.auroc.value:.3f})."
            )
        same = _rank_correlation(rows.scores, values)
        if abs(same) > _SAME_ORDER:
            warnings.append(f"{rows.level}: the score follows the trivial feature {name} (Spearman correlation {same:.2f}).")
    return warnings


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation; 0 when there are too few rows or one column is constant."""
    if len(first) < 10 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)
