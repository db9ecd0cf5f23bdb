"""Published figures of a benchmark file, sorted by what they measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medood.core.errors import MedoodError
from medood.export.table_model import Number


@dataclass(frozen=True)
class Figures:
    """What a publication says of one method on one cohort; None where it says nothing. `against` holds AUROCs, one per outlier set."""

    fpr: Number | None = None
    tpr: Number | None = None
    auroc: Number | None = None
    against: tuple[Number | None, ...] = ()


@dataclass(frozen=True)
class Publication:
    """Figures by cohort and row: `beside` on the same images as ours, `apart` on others."""

    title: str = ""
    beside: Mapping[str, Mapping[str, Figures]] = field(default_factory=dict)
    apart: Mapping[str, Mapping[str, Figures]] = field(default_factory=dict)


def read_published(
    published: Mapping[str, Any] | None, layouts: Sequence[str], outliers: Mapping[str, Sequence[str]], parts: Iterable[str]
) -> Publication:
    """The `published` section of a benchmark file.

    A row names each figure once, whatever the number of tables that show it: FPR, TPR and AUROC on the cohort's own anomalous images, then
    the AUROC against each outlier set. FPR and TPR are left out where the "intra" table is not printed, and in rows named in `parts`;
    the first AUROC where "inter" alone is printed. Outlier sets may be left out together. A figure is a number,
    a pair of number and standard deviation, or None.

    Raises MedoodError when a row has another number of figures.
    """
    if not published:
        return Publication()
    parts = set(parts)

    def figures(cohort: str, row: str, numbers: Sequence[Any], sets: int | None) -> Figures:
        first = _first(layouts, row in parts)
        if len(numbers) < first or (sets is not None and len(numbers) not in (first, first + sets)):
            allowed = f"{first} or more" if sets is None else f"{first} or {first + sets}" if sets else f"{first}"
            raise MedoodError(
                f"Published figures of {row!r} on {cohort!r}: expected {allowed} numbers, found {len(numbers)}. Give FPR, TPR and "
                "AUROC (the AUROC alone for components and without the table 'intra'), then the AUROC against each outlier set; null where "
                "there is none."
            )
        fpr, tpr, auroc = [None] * (3 - first) + [_number(value) for value in numbers[:first]]
        return Figures(fpr, tpr, auroc, tuple(_number(value) for value in numbers[first:]))

    return Publication(
        str(published.get("title", "")),
        {
            cohort: {row: figures(cohort, row, numbers, len(outliers.get(cohort, ()))) for row, numbers in rows.items()}
            for cohort, rows in published.get("beside", {}).items()
        },
        {
            cohort: {row: figures(cohort, row, numbers, None) for row, numbers in rows.items()}
            for cohort, rows in published.get("apart", {}).items()
        },
    )


def _first(layouts: Sequence[str], part: bool) -> int:
    """How many figures stand before those of the outlier sets."""
    if "intra" in layouts and not part:
        return 3
    return 1 if {"components", "auroc", "classes"} & set(layouts) else 0


def _number(value: Any) -> Number | None:
    if value is None:
        return None
    return Number(value[0], spread=value[1]) if isinstance(value, Sequence) else Number(value)
