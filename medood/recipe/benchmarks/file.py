"""What a benchmark file may say."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from medood.core.types import NonNegativeInt, PositiveInt

Layout = Literal["intra", "inter", "components", "auroc", "classes"]
Figure = float | tuple[float, float] | None


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OutlierSet(_Section):
    """Images of another kind, all of them outliers.

    source  where they come from, as in a recipe
    part    only the images that the source's table gives this part; null: all
    limit   images to take at most, evenly spaced; null: all
    """

    source: dict[str, Any]
    part: str | None = None
    limit: PositiveInt | None = None


class Published(_Section):
    """Figures of a publication: by cohort, then by row. A figure is a number, a pair of it and its standard deviation, or nothing.

    The order of a row is FPR, TPR, AUROC, then the AUROC against each outlier set. FPR and TPR are for the table "intra" alone, and not for
    parts; with the table "inter" alone the first AUROC is left out too.
    title   whose figures they are, for the heading of the table
    beside  by the name of a cohort of this file: measured on the same images as ours
    apart   by the name of the publication's cohort: measured on other images
    """

    title: str
    beside: dict[str, dict[str, list[Figure]]] = {}
    apart: dict[str, dict[str, list[Figure]]] = {}


class Benchmark(_Section):
    """What a benchmark file may say.

    summary    one line about the benchmark, for you; it changes nothing
    tables     the layouts to print: "intra" (own anomalous images), "inter" (outlier sets), "components" (parts of a score), "auroc",
               "classes" (each class normal once)
    seeds      every detector is trained once with each
    common     keys of a recipe that hold for every run
    cohorts    by name: keys of a recipe, `source` and `transforms` at least; `outliers`, the sets or cohorts to compare with; and
               `each_normal`, classes each of which is the normal one once, as a list of values of `source.normal` or as {name of the
               class: keys of the source}: the cohort then stands for "COHORT, CLASS" of every class
    sets       outlier sets by name
    detectors  by name: keys of a recipe, `detector` at least; `parts`, components to show as rows: {name of the row: component}; `seeds`
               where a detector is to have others; and `hindsight`, a pattern such as nu_*: one more row, "NAME, hindsight", with the best
               of the components of such names in every column, chosen by the labels of the test. Some papers chose so; nobody can who does
               not know the labels
    published  figures of a publication to show with ours
    """

    summary: str = ""
    tables: list[Layout] = ["intra"]
    seeds: list[NonNegativeInt] = [0]
    common: dict[str, Any] = {}
    cohorts: dict[str, dict[str, Any]]
    sets: dict[str, OutlierSet] = {}
    detectors: dict[str, dict[str, Any]]
    published: Published | None = None
