"""What a run says of an entry, as rows of scores.csv."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medood.core.errors import InputError, MedoodError
from medood.core.shield import shield
from medood.core.volume import Entry, Problem, Volume
from medood.data.found import is_harmless
from medood.data.input_facts import input_facts
from medood.data.training_images import SeenImages
from medood.features.interface import extractor_in
from medood.gate.gate import Gate, Judgement, Look
from medood.metrics.calibration import Calibration
from medood.metrics.trivial import trivial_features
from medood.recipe.run import Run
from medood.scoring.inference import Scored, make_normal, reconstruct_images, refusal, score_images
from medood.scoring.pooling import Pool
from medood.transforms.pipeline import Pipeline, Prepared

OUT_OF_DOMAIN = "out_of_domain"
"""The decision about an input that is not of the kind that the run was trained on: neither normal nor anomalous can be said of it."""

_LONGEST_LIST = 30_000  # characters; a spreadsheet cell holds 32,767


@dataclass(frozen=True, eq=False)
class Compared:
    """n images beside those of the run: what the gate says at a look, and of which entries they are near-copies, (n,); -1: of none."""

    look: Look
    originals: np.ndarray

    def __getitem__(self, rows: slice) -> Compared:
        return Compared(self.look[rows], self.originals[rows])


@dataclass(eq=False)
class Decoded:
    """An entry's volume and its images.

    compared  with the images that the run was made from; None before
    scored    what the detector says of them; None before it was asked, and where no slice is fit for it
    """

    volume: Volume
    prepared: Prepared
    compared: Compared | None = None
    scored: Scored | None = None


class Scorer:
    """A run at work on prepared volumes; where `seen` is given, rows say which of them the run was made from."""

    def __init__(self, run: Run, device: torch.device, plane: str | None, seen: SeenImages | None = None) -> None:
        recipe = run.recipe
        preparation = recipe.transforms.model_copy(update={"plane": plane}) if plane else recipe.transforms
        self.pipeline = Pipeline(preparation)
        self._pipeline_of_training = Pipeline(recipe.transforms) if preparation.plane != recipe.transforms.plane else None
        self.run, self.device, self.seen = run, device, seen
        self.batch_size = recipe.scoring.batch_size
        self._scorable: np.ndarray | None = None
        self.image = Calibration.from_dict(run.calibration["image"])
        series = run.calibration["series"]
        self.series = Calibration.from_dict(series) if series else None
        self.pooling = Pool.of_recipe(recipe, run.calibration["pooling_threshold"])
        self.gate = Gate.load(run.folder, self.pipeline.spec)
        self._features = extractor_in(run.detector) if self.gate and self.gate.needs_features else None

    def score(self, images: np.ndarray) -> Scored:
        """What the detector says of (n, channels, height, width) images, whichever entries they are of; `pool` makes scores of it."""
        wants = self.pooling.wants_residual
        scored = score_images(
            self.run.detector, torch.from_numpy(images), self.batch_size, self.device, residual=wants, features=self._features
        )
        if self._scorable is None:
            self._scorable = images[:1].copy()
        return scored

    def pool(self, scored: Scored, prepared: Prepared) -> Scored:
        """The scores and maps of one whole entry, as the run was calibrated."""
        return self.pooling(scored, prepared.images, prepared.slices, prepared.raster, plain=True)

    def series_score(self, scored: Scored, prepared: Prepared) -> float:
        """The score of a series, from the pooled scores of its slices."""
        return self.pooling.series(scored, prepared.images, prepared.raster, self.run.recipe.scoring.top_slices)

    def compare(self, images: np.ndarray, features: np.ndarray | None) -> Compared:
        """(n, channels, height, width) prepared images, whichever entries they are of, with those that the run was made from; `features`
        as `score` gave them."""
        look = self.gate.look(images, features) if self.gate else Look({}, np.zeros(len(images), int))
        same_cut = self.seen is not None and self._pipeline_of_training is None
        return Compared(look, self.seen.originals(images) if self.seen and same_cut else np.full(len(images), -1))

    def judged(self, volume: Volume, prepared: Prepared, look: Look, scores: np.ndarray | None) -> list[Judgement] | None:
        """What the gate says of every image of an entry; None for a run without one."""
        if self.gate is None:
            return None
        return self.gate.judge(look, input_facts(volume, prepared), self.pipeline.preparation.plane != "native", scores)

    def seen_in_training(self, volume: Volume, originals: np.ndarray) -> str:
        """Whether the run was made from this volume, as `SeenImages.mark` says it; cut as the run's own images were to be compared."""
        if self.seen is None:
            return ""
        if self._pipeline_of_training is not None:
            originals = self.seen.originals(self._pipeline_of_training.prepare(volume).images)
        return self.seen.mark(volume.entry.id, originals)

    def check(self) -> None:
        """Raises MedoodError when the run cannot score what it scored before, or noise if it scored nothing: then no image is to blame."""
        spec = self.pipeline.spec
        known = self._scorable
        if known is None:
            known = np.random.default_rng(0).uniform(spec.low, spec.high, (1, *spec.shape)).astype(np.float32)
        try:
            with shield(self.run.name, refusal):
                self.score(known)
        except InputError as error:
            raise MedoodError(
                f"The run {self.run.name} cannot score any image on {self.device}: {error} What was scored so far is kept: "
                "go on with --resume, on another --device if need be."
            ) from error

    def reconstruct(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return reconstruct_images(self.run.detector, torch.from_numpy(images), self.run.recipe.scoring.batch_size, self.device)

    def make_normal(self, images: np.ndarray) -> np.ndarray | None:
        return make_normal(self.run.detector, torch.from_numpy(images), self.device)


def entry_rows(entry: Entry, decoded: Decoded, scorer: Scorer) -> list[dict[str, Any]]:
    """A row per slice and one for the series, or the one row of a single image, of what was scored in its group."""
    volume, prepared, compared, scored = decoded.volume, decoded.prepared, decoded.compared, decoded.scored
    assert compared is not None
    single = entry.slices == 1
    judged = scorer.judged(volume, prepared, compared.look, None if scored is None else scored.image)
    base = entry_row(entry) | {"issues": joined([*entry.issues, *volume.issues])}
    if scorer.seen is not None:
        base["seen_in_training"] = scorer.seen_in_training(volume, compared.originals)
    acquired = prepared.way.orientation.axes[0] == 0
    by_slice = {}
    for position, number in enumerate(prepared.slices.tolist()):
        row = base | _slice_place(entry, number, acquired) | _numbers(scored, position, prepared, entry, scorer)
        by_slice[number] = _in_domain(row, None if judged is None else judged[position])
    for number, reason in prepared.skipped.items():
        by_slice[number] = base | _slice_place(entry, number, acquired) | {"status": "skipped", "reason": reason}
    slices = [by_slice[number] | {"level": "image" if single else "slice"} for number in sorted(by_slice)]
    if not single:
        whole = scorer.gate.series(judged) if scorer.gate and judged else None
        slices.append(_in_domain(base | _series_numbers(scored, prepared, scorer), whole))
    slices[-1]["examined"] = round(prepared.examined, 4)
    return slices


def _in_domain(row: dict[str, Any], judged: Judgement | None) -> dict[str, Any]:
    """The row with what the gate says, and without another decision where it refuses."""
    if judged is None:
        return row
    decision = {"decision": OUT_OF_DOMAIN} if judged.refused and row["status"] == "ok" else {}
    return row | domain_cells(judged) | decision


def domain_cells(judged: Judgement) -> dict[str, Any]:
    """As columns of scores.csv."""
    return {"in_domain": "no" if judged.refused else "yes", "domain_p": float(f"{judged.p:.4g}"), "domain_reason": judged.reason}


def _numbers(scored: Scored | None, position: int, prepared: Prepared, entry: Entry, scorer: Scorer) -> dict[str, Any]:
    assert scored is not None
    image = prepared.images[position]
    background = scorer.pipeline.spec.background
    body = None if background is None else (image != background).any(0)
    number = int(prepared.slices[position])
    size = _bytes_in_file(entry, number)
    score = float(scored.image[position])
    parts = {f"part_{name}": float(values[position]) for name, values in scored.parts.items()}
    plain = trivial_features(image, body, size) | {name: float(values[position]) for name, values in scored.plain.items()}
    return {"score": score, **_judged(score, scorer.image), "status": "ok", **parts, **plain}


def _bytes_in_file(entry: Entry, number: int) -> float:
    """What slice `number` takes in its file."""
    if entry.bytes_per_image is not None:
        return entry.bytes_per_image
    if len(entry.files) == entry.slices > 1:
        return entry.files[number].stat().st_size
    return sum(file.stat().st_size for file in entry.files) / entry.slices


def _series_numbers(scored: Scored | None, prepared: Prepared, scorer: Scorer) -> dict[str, Any]:
    if scored is None:
        return {"level": "series", "status": "skipped", "reason": "no slice could be scored"}
    score = scorer.series_score(scored, prepared)
    if scorer.series is None:
        why = f"no p-value for series: {scorer.run.calibration['series_reason']}"
        return {"level": "series", "score": score, "status": "ok", "reason": why}
    return {"level": "series", "score": score, **_judged(score, scorer.series), "status": "ok"}


def _judged(score: float, calibration: Calibration) -> dict[str, Any]:
    values = np.array([score])
    decision = "anomalous" if bool(calibration.anomalous(values)[0]) else "normal"
    return {"p_value": float(calibration.p_value(values)[0]), "decision": decision}


def entry_row(entry: Entry) -> dict[str, Any]:
    origin = entry.origin
    return {"id": entry.id, "group": entry.group, "study_uid": origin.study_uid, "series_uid": origin.series_uid}


def failed_row(entry: Entry, problem: Problem, root: Path) -> dict[str, Any]:
    """The row of an entry that could not be scored; that of a series lists its files."""
    files = [path.relative_to(root).as_posix() if root in path.parents else path.name for path in entry.files]
    problem = replace(problem, files=tuple(files) if len(files) > 1 else ())
    return entry_row(entry) | problem_row(problem) | {"issues": joined([*entry.issues, problem.code])}


def _slice_place(entry: Entry, number: int, acquired: bool) -> dict[str, Any]:
    """Which slice, and its SOP instance when slices are cut as they were acquired."""
    uids = entry.origin.sop_uids
    uid = uids[number] if acquired and number < len(uids) else ""
    return {"slice": "" if entry.slices == 1 else number, "sop_uid": uid}


def problem_row(problem: Problem) -> dict[str, Any]:
    status = "skipped" if is_harmless(problem) else "error"
    known = {"id": problem.path, "issues": problem.code, "files": _listed(problem.files)}
    known |= {key: uid for key, uid in (("study_uid", problem.study_uid), ("series_uid", problem.series_uid)) if uid}
    return {"level": "file", **known, "status": status, "reason": f"{problem.code}: {problem.message}"}


def joined(codes: Iterable[str]) -> str:
    """Issue codes as one cell, each once."""
    return ";".join(dict.fromkeys(codes))


def _listed(files: Sequence[str]) -> str:
    """Paths as one cell that a spreadsheet can hold."""
    length = 0
    for count, file in enumerate(files, 1):
        length += len(file) + 1
        if length > _LONGEST_LIST:
            return ";".join([*files[: count - 1], f"... and {len(files) - count + 1} more"])
    return ";".join(files)
