"""A recipe to a run: index, split by patient, prepare, train, calibrate, save."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medood.core.console import Console
from medood.core.detector import Detector
from medood.core.files.lock import alone
from medood.core.files.user_folders import feature_folder
from medood.core.running import processes
from medood.data.cache import CachedImages
from medood.data.contrast import contrast_images
from medood.data.normal_images import normal_images
from medood.data.opening import with_columns
from medood.data.training_images import require_same_images, write_hashed
from medood.features.interface import describer, keep_features
from medood.gate.fitting import Features, fit_gate
from medood.gate.gate import Gate
from medood.recipe.adoption import adopt_weights, with_runs
from medood.recipe.building import build_detector, image_spec, with_checksum
from medood.recipe.recipe import Recipe
from medood.recipe.run import save_run
from medood.scoring.calibrate import calibrate, check_enough, check_pooling
from medood.tasks.training.begun import fingerprint, guard, is_done, remembered, require_same
from medood.training.checkpoints.checkpoint import checkpoint_bytes, discard_checkpoint
from medood.training.contrast import Against, Contrast, made_of
from medood.training.plan import check_held_out, check_plan
from medood.training.processes import joined
from medood.training.trainer import train
from medood.training.watching.progress import Silence
from medood.transforms.pipeline import augmentation


def train_recipe(
    recipe: Recipe,
    out: Path,
    *,
    data: Path | None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    cache: Path | None = None,
    progress: Silence | bool = True,
    keep_checkpoint: bool = True,
    index: str | None = None,
) -> Path:
    """Train the recipe's detector into the run folder `out` and return it; `progress` as for the trainer, `index` names an index to know
    the folder by.

    Nothing about anomalies reaches training: entries and slices with a label other than normal are left out before the split.

    The processes that torchrun started train together; the first one reads the files, writes the run and speaks.

    `resume` goes on with an interrupted training, or makes a finished one longer when the recipe's `training.epochs` have grown; a run
    that is there stays whole until the longer one is saved. That needs the checkpoints in `out`/checkpoint, three to six times the size
    of the weights, which `keep_checkpoint` leaves there.
    """
    with joined(device) as target, alone(out / ".lock", out) if processes.leads() else nullcontext():
        console, leads = Console(quiet=not processes.leads()), processes.leads()
        recipe = with_runs(with_columns(recipe, data))
        if leads:
            guard(out, recipe, resume, overwrite)
        if processes.from_first(leads and is_done(out, recipe, resume and not overwrite)):
            console.say(f"{out} is finished. Train it for longer with --resume --set training.epochs=N, or anew with --overwrite.")
            return out
        recipe, detector = _built(recipe, cache)  # before any file is read: a size or a plan that does not fit is known at once
        recipe, parts = processes.from_first(normal_images(recipe, data, cache, console, index) if leads else None)
        images, held_out = parts["train"], parts["held_out"]
        check_enough(held_out, recipe)
        check_held_out(detector.phases(), len(held_out))
        for run in recipe.detector.get("runs", []):
            require_same_images(Path(run), parts)
        recipe, contrast = _contrast(recipe, parts, cache, console)
        if forecast := detector.forecast(len(images)):
            console.say(forecast)
        images_used = fingerprint(parts)
        if resume and leads:
            require_same(out, recipe, images_used)
        if overwrite and leads:
            (out / "manifest.json").unlink(missing_ok=True)  # a run that is being replaced is no longer complete
        started = time.perf_counter()
        with remembered(out, recipe, images_used) if leads else nullcontext():
            options: dict[str, Any] = {"seed": recipe.seed, "device": target, "resume": resume, "progress": progress}
            options |= {"augment": augmentation(recipe.augment), "contrast": contrast}
            train(detector, images, held_out, recipe.training, out, **options)
        facts = {"training_seconds": round(time.perf_counter() - started, 1), "device": str(target), "index": images_used}
        calibration, scores = _calibration(detector, held_out, recipe, target, console)
        if leads:
            gate = _gate(images, held_out, recipe, scores, describer(detector, target), console)
            _save(out, recipe, detector, parts, calibration, gate, facts)
            _tidy(out, keep_checkpoint, console)
    return out


def _built(recipe: Recipe, cache: Path | None) -> tuple[Recipe, Detector]:
    """The untrained detector, checked, and the recipe with the checksum of the weights that it begins with."""
    torch.manual_seed(recipe.seed)
    detector = build_detector(recipe)
    recipe = with_checksum(recipe, detector)
    adopt_weights(detector, recipe)
    keep_features(detector, feature_folder(cache))
    check_plan(detector.phases(), recipe.training)
    check_pooling(detector, recipe)
    return recipe, detector


def _contrast(recipe: Recipe, parts: dict[str, CachedImages], cache: Path | None, console: Console) -> tuple[Recipe, Against]:
    """What the detector learns to tell the normal images from; images of its own join `parts`."""
    images, held_out = parts["train"], parts["held_out"]
    if isinstance(recipe.contrast, str):
        return recipe, made_of(recipe.contrast, images, held_out, image_spec(recipe), recipe.seed)
    if recipe.contrast is None:
        return recipe, None
    made = contrast_images(recipe, images, held_out, console=console, cache=cache) if processes.leads() else None
    recipe, more = processes.from_first(made)
    parts |= more
    return recipe, Contrast(more["contrast"], more["contrast_held_out"])


def _calibration(
    detector: Detector, held_out: CachedImages, recipe: Recipe, target: torch.device, console: Console
) -> tuple[dict[str, Any], np.ndarray]:
    with console.step("Calibrating on the held-out normal images"):
        calibration, scores = calibrate(detector, held_out, recipe, target)
    for level in ("image", "series"):
        if calibration[level]:
            console.say(_threshold(calibration[level], "images" if level == "image" else "series"))
    if calibration["series"] is None and any(entry.entry.slices > 1 for entry in held_out.entries):
        console.say(f"Slices get p-values and decisions, whole series get scores only: {calibration['series_reason']}")
    return calibration, scores


def _gate(
    images: CachedImages, held_out: CachedImages, recipe: Recipe, scores: np.ndarray, features: Features | None, console: Console
) -> Gate:
    """From all normal images and their features, where the detector works on any, and from the scores of the held-out ones."""
    normal = CachedImages([*images.entries, *held_out.entries])
    with console.step("Fitting the gate that knows other kinds of images"):
        gate = fit_gate(
            lambda numbers: normal.gather(numbers).numpy(),
            normal.groups,
            [entry.facts for entry in normal.entries],
            image_spec(recipe),
            recipe.calibration.false_refusal_rate,
            (scores, held_out.groups),
            features,
        )
    for sentence in gate.left_out:
        console.say(sentence)
    return gate


def _threshold(found: Mapping[str, Any], what: str) -> str:
    """What a calibration says of false alarms, with the interval that it counts on."""
    ends = found["interval"]
    interval = f"no interval of the true rate, because {found['interval_reason']}"
    if ends:
        interval = f"the true rate lies between {100 * ends[0]:.1f} % and {100 * ends[1]:.1f} % (95 % interval)"
    return (
        f"Threshold for {what}: {found['threshold']:.4g}, for a false-alarm rate of {100 * found['false_alarm_rate']:g} %; from "
        f"{len(found['scores'])} held-out normal {what} of {found['patients']} patients, {interval}."
    )


def _index_rows(parts: Mapping[str, CachedImages]) -> list[dict[str, Any]]:
    """A row for every entry, with the number of its images that were trained on or calibrated with."""
    return [
        {"id": each.entry.id, "group": each.entry.group, "part": part, "images": int(count)}
        for part, images in parts.items()
        for each, count in zip(images.entries, np.bincount(images.owner, minlength=len(images.entries)), strict=True)
    ]


def _save(
    out: Path,
    recipe: Recipe,
    detector: Detector,
    parts: Mapping[str, CachedImages],
    calibration: dict[str, Any],
    gate: Gate,
    facts: dict[str, Any],
) -> None:
    facts = facts | {"train_images": len(parts["train"])} | ({"processes": processes.count()} if processes.count() > 1 else {})
    files = [write_hashed(out, list(parts.values())), gate.save(out)]
    save_run(out, recipe, detector, calibration, _index_rows(parts), facts, files=files)


def _tidy(out: Path, keep_checkpoint: bool, console: Console) -> None:
    """What only an unfinished run needs goes; what a longer training needs may stay."""
    discard_checkpoint(out, keep_ends=keep_checkpoint)
    (out / "training.json").unlink()
    console.say(f"Run saved in {out}")
    if kept := checkpoint_bytes(out):
        console.say(f"{out / 'checkpoint'} ({kept / 1e6:.0f} MB) serves to train for longer with --resume; delete it if you will not.")
