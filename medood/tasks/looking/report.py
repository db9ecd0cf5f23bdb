"""A scoring as one HTML file that opens anywhere, without a server and without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medood import __version__
from medood.core.console import Console
from medood.core.errors import InputError, MedoodError
from medood.core.files.atomic import write_text
from medood.core.geometry import Geometry
from medood.core.volume import Problem
from medood.data.attempt import attempt
from medood.evaluation.labelled_scores import Labels, read_labels
from medood.evaluation.localisation import volume_mask
from medood.export.map_list import check_scored_together
from medood.reporting.assembly import Page
from medood.reporting.cases import Case, case_of
from medood.reporting.cohort import Cohort, read_cohort
from medood.reporting.evaluated import evaluation_html
from medood.scoring.mapped_images import Mapped, MappedImages
from medood.tasks.judging.evaluate import judge

_FACTS = {
    "run": "Run",
    "detector": "Detector",
    "false_alarm_rate": "False-alarm rate asked for",
    "held_out_images": "Held-out normal images",
}
_FACTS |= {"held_out_patients": "Their patients", "run_checksum": "Checksum of the run"}
_CHECKSUM = 16


def report(
    scores: Path,
    out: Path,
    *,
    maps: Path | None = None,
    images: Path | None = None,
    labels: Path | None = None,
    with_images: bool = False,
    cases: int = 6,
    title: str = "",
    bootstraps: int = 1000,
    seed: int = 0,
) -> Path:
    """Write `out`, of the table `scores`; with `maps` the `cases` with the highest scores can be looked at, with `labels` they are judged.

    `images` is the folder of the images if it is no longer where it was scored. Pictures of patients are in the file only `with_images`.
    Raises MedoodError when the tables or the maps cannot be read; a case that cannot be shown is named and left out.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise MedoodError(f"--out must be a file that ends in .html, found {out}.")
    console, cohort = Console(), read_cohort(scores)
    if maps is not None:
        check_scored_together(maps, cohort.facts.get("run_checksum"), scores)
    known = read_labels(labels) if labels else None
    judged = "" if labels is None else evaluation_html(judge(scores, labels, maps=maps, seed=seed, bootstraps=bootstraps))
    found = _cases(MappedImages(maps, images=images), cohort, known, cases, with_images, console) if maps else {}
    page = Page(title or f"Scores of {scores.parent.resolve().name}", _facts(cohort), cohort.remarks, cohort, found, judged, with_images)
    write_text(out, page.html())
    if with_images:
        console.warn(f"{out} holds images of patients: handle it as you handle them.")
    return out


def _facts(cohort: Cohort) -> Mapping[str, str]:
    """What is known of the run, in words."""
    said = {words: cohort.facts[name] for name, words in _FACTS.items() if cohort.facts.get(name) is not None}
    texts = {words: f"{100 * value:g} %" if words.startswith("False") else str(value)[: 4 * _CHECKSUM] for words, value in said.items()}
    texts = {words: text[:_CHECKSUM] if words.startswith("Checksum") else text for words, text in texts.items()}
    return texts | {"medood": __version__}


def _cases(mapped: MappedImages, cohort: Cohort, labels: Labels | None, count: int, with_image: bool, console: Console) -> dict[str, Case]:
    """The hottest cases by id, hottest first."""
    by_id = {each.entry.id: each for each in mapped.found}
    chosen = [by_id[identifier] for identifier in cohort.hottest(list(by_id), count)]
    made: dict[str, Case] = {}
    for each in console.track(chosen, "Preparing cases", len(chosen)):
        case = _attempt_case(each, mapped, labels, with_image)
        if isinstance(case, Problem):
            console.warn(f"Left out: {case.path}: {case.message}")
        else:
            made[each.entry.id] = case
    return made


def _attempt_case(each: Mapped, mapped: MappedImages, labels: Labels | None, with_image: bool) -> Case | Problem:
    def make(_: object) -> Case:
        shown = mapped.read(each)
        mask = _mask(each, shown.volume.geometry, labels)
        return case_of(shown, int(each.line["axis"]), mapped.scale, mask, with_image=with_image)

    return attempt(make, each.entry)


def _mask(each: Mapped, geometry: Geometry, labels: Labels | None) -> np.ndarray | None:
    """The lesion of an entry, where its labels name a mask of the whole that can be read; the page does without it otherwise."""
    path = labels.mask_of_whole(each.entry.id) if labels else None
    if path is None:
        return None
    try:
        return volume_mask(path, geometry, each.entry.id)
    except InputError:
        return None
