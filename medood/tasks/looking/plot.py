"""Figures of a run: training curves, images with their scores by class, and reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from medood.core.console import Console
from medood.core.detector import Epoch
from medood.core.device import pick_device
from medood.core.errors import MedoodError
from medood.core.volume import Entry, Index
from medood.data.found import check_found
from medood.data.opening import open_source
from medood.data.split import of_part
from medood.data.training_images import reading, seen_before
from medood.evaluation.cases import Case, Class, Place, classes_of, evenly, look_again
from medood.evaluation.labelled_scores import read_labels
from medood.export.class_histogram import class_histogram
from medood.export.figures import save_figure
from medood.export.image_figures import Column, ReconstructionRow, ScoredPicture, case_figure, picture_of, reconstruction_figure
from medood.export.training_figure import TrainingPanel, training_figure
from medood.index.finding import found_by
from medood.recipe.run import Run, load_run
from medood.scoring.rows import Scorer
from medood.training.watching.history import read_history
from medood.transforms.pipeline import Prepared


def plot(
    run_folder: Path,
    folders: Sequence[Path],
    out: Path,
    *,
    source: str = "folder",
    table: str | None = None,
    part: str | None = None,
    labels: Path | None = None,
    plane: str | None = None,
    rows: int = 4,
    limit: int = 200,
    device: str = "auto",
    index: str | None = None,
) -> list[Path]:
    """Write figures of a run into `out`, each as PNG and SVG, and return the files.

    training         the losses of every phase, epoch by epoch
    scores           with folders: a column per class, `rows` images in each, chosen by the quantiles of their scores
    histogram        with folders: the scores of all classes
    reconstructions  with folders, if the detector makes any: a row per class, the image with the middle score
    made_normal      with folders, if the detector can: a row per class, the same image changed until the detector finds it more normal

    `source`, `table`, `part`, `labels` and `index`, which names one to know it by, are about the first folder, whose classes are normal and
    anomalous if they say so; every further folder is read as it is and is a class of its own. Of each, at most `limit` series or images
    are scored, evenly spaced.
    """
    console, run = Console(), load_run(run_folder)
    places = _places(run, folders, First(source, table, part, labels, index), limit, console)
    panels = _training_panels(read_history(run_folder))
    if not (panels or places):
        raise MedoodError(f"{run_folder} has no training curves in its history.jsonl. Name a folder of images to draw their scores.")
    written = save_figure(training_figure(panels), out, "training") if panels else []
    if not panels:
        console.say(f"{run.name} has no training curves in its history.jsonl, so there is no figure of them.")
    if places:
        target = pick_device(device)
        run.detector.to(target)
        written += _image_figures(places, Scorer(run, target, plane), rows, out, console)
    return written


@dataclass(frozen=True)
class First:
    """How a folder is read: as `plot` has it of the first, or as it is."""

    source: str = "folder"
    table: str | None = None
    part: str | None = None
    labels: Path | None = None
    index: str | None = None


def _places(run: Run, folders: Sequence[Path], first: First, limit: int, console: Console) -> list[Place]:
    """The folders, opened and indexed before anything is scored, so that a mistake is known at once."""
    if not folders and (first.table or first.part or first.labels or first.index):
        raise MedoodError("--table, --part, --labels and --index are about a folder of images: name it after the run.")
    known = read_labels(first.labels) if first.labels else None
    places = []
    for number, (folder, name) in enumerate(zip(folders, _names(folders), strict=True)):
        said = first if number == 0 else First()
        parameters: dict[str, Any] = reading(run.recipe, said.source) if number == 0 else {}
        reader = open_source(said.source, folder, **parameters | ({"csv": said.table} if said.table else {}))
        with found_by(reader, folder, said.index, console) as everything:
            chosen = _chosen(of_part(everything, said.part), folder, limit, console)
        if seen := seen_before(run, chosen):
            console.warn(f"{folder}: {seen} images have the ids of images that {run.name} was trained or calibrated on.")
        places.append(Place(name, folder, reader, chosen, known if number == 0 else None))
    return places


def _chosen(index: Index, folder: Path, limit: int, console: Console) -> list[Entry]:
    """At most so many entries, evenly spaced."""
    check_found(index)
    if not index.entries:
        raise MedoodError(f"{folder}: found no image. Expected DICOM, NIfTI, PNG, JPEG or TIFF; `medood inspect` says what is there.")
    chosen = [index.entries[i] for i in evenly(len(index.entries), limit)]
    if len(chosen) < len(index.entries):
        console.say(f"{folder}: {len(chosen)} of {len(index.entries)} series or images are looked at; --limit takes more.")
    return chosen


def _names(folders: Sequence[Path]) -> list[str]:
    """The end of each path, as many parts of it as it takes to tell the folders apart, from each other and from labels."""
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise MedoodError("A folder is named twice: every folder is a column of its own.")
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names) and not {"normal", "anomalous"} & {name.lower() for name in names[1:]}:
            return names
    return ["/".join(path) for path in parts]


def _training_panels(history: Sequence[Epoch]) -> list[TrainingPanel]:
    """A panel for every phase that learned step by step."""
    panels = []
    for phase, group in groupby(history, key=lambda epoch: epoch.phase):
        epochs = list(group)
        names = dict.fromkeys(name for epoch in epochs for name in epoch.losses)
        if not names:
            continue
        losses = {name: _curve((e.number, e.losses[name]) for e in epochs if name in e.losses) for name in names}
        judged = [e for e in epochs if e.validation is not None]
        best = min(judged, key=attrgetter("validation")) if judged else epochs[-1]  # the first of equals, as in training
        panels.append(TrainingPanel(phase, losses, _curve((e.number, e.validation) for e in judged), best.number))
    return panels


def _curve(points: Any) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of (epoch, value) pairs."""
    pairs = np.array(list(points), float).reshape(-1, 2)
    return pairs[:, 0].astype(int), pairs[:, 1]


def _image_figures(places: Sequence[Place], scorer: Scorer, rows: int, out: Path, console: Console) -> list[Path]:
    classes = [chosen for place in places for chosen in classes_of(place, scorer, console)]
    if any("burned_in" in case.entry.issues for chosen in classes for case in (*chosen.spread(rows), *chosen.spread(1))):
        console.warn("Some of the images shown may have text in their pixels, such as a name; so may the figures.")
    failed: list[str] = []
    columns = [_column(chosen, scorer, rows, failed) for chosen in classes]
    rebuilt = [row for chosen in classes for row in _reconstructed(chosen, scorer, failed)]
    normal = [row for chosen in classes for row in _made_normal(chosen, scorer, failed)]
    if failed := list(dict.fromkeys(failed)):
        console.warn(f"{len(failed)} of the series or images to show could not be read again, and are left out; the first: {failed[0]}")
    columns = [column for column in columns if column.pictures]
    if not columns:
        raise MedoodError(f"Not one of the images to show could be read again: {failed[0]}")
    written = save_figure(case_figure(columns, scorer.image.threshold), out, "scores")
    scores = {chosen.title: np.array([case.score for case in chosen.cases]) for chosen in classes}
    written += save_figure(class_histogram(scores, scorer.image.threshold), out, "histogram")
    if normal:
        written += save_figure(reconstruction_figure(normal, None), out, "made_normal")
    if not rebuilt:
        return written
    if not rebuilt[0].reconstructions:
        name = scorer.run.recipe.detector["name"]
        console.say(f"The detector {name} does not reconstruct images, so there is no figure of reconstructions.")
        return written
    scale = scorer.image.map_scale if rebuilt[0].map is not None else None
    return written + save_figure(reconstruction_figure(rebuilt, scale), out, "reconstructions")


def _column(chosen: Class, scorer: Scorer, rows: int, failed: list[str]) -> Column:
    def picture(prepared: Prepared, place: int, case: Case) -> ScoredPicture:
        return _picture(prepared.images[place], case.score, scorer)

    return Column(chosen.title, len(chosen.cases), look_again(chosen, chosen.spread(rows), scorer, picture, failed))


def _reconstructed(chosen: Class, scorer: Scorer, failed: list[str]) -> list[ReconstructionRow]:
    """The case with the middle score of a class, with the map as it is pooled with the other slices of its entry; none if it fails."""
    spec = scorer.pipeline.spec

    def row(prepared: Prepared, place: int, case: Case) -> ReconstructionRow:
        image = prepared.images[place]
        made = {title: picture_of(values[0], spec.low, spec.high) for title, values in scorer.reconstruct(image[None]).items()}
        heat = scorer.pool(scorer.score(prepared.images), prepared).map
        return ReconstructionRow(chosen.title, _picture(image, case.score, scorer), made, None if heat is None else heat[place])

    return look_again(chosen, chosen.spread(1), scorer, row, failed)


def _made_normal(chosen: Class, scorer: Scorer, failed: list[str]) -> list[ReconstructionRow]:
    """The case with the middle score of a class, made more normal; none if the detector cannot, or if it fails."""
    spec = scorer.pipeline.spec

    def row(prepared: Prepared, place: int, case: Case) -> ReconstructionRow | None:
        image = prepared.images[place]
        made = scorer.make_normal(image[None])
        if made is None:
            return None
        pictures = {"made more normal": picture_of(made[0], spec.low, spec.high)}
        return ReconstructionRow(chosen.title, _picture(image, case.score, scorer), pictures)

    return [each for each in look_again(chosen, chosen.spread(1), scorer, row, failed) if each]


def _picture(image: np.ndarray, score: float, scorer: Scorer) -> ScoredPicture:
    spec = scorer.pipeline.spec
    anomalous = bool(scorer.image.anomalous(np.array([score]))[0])
    return ScoredPicture(picture_of(image, spec.low, spec.high), score, anomalous)
