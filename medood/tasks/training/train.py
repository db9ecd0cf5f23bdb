"""A recipe to a run: index, split by patient, prepare, train, calibrate, save."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medood.core.console import Console
from medood.core.detector import Detector
from medood.core.errors import MedoodError, ResumeError
from medood.core.files.atomic import write_json
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
from medood.recipe.recipe import Recipe, changed_keys
from medood.recipe.run import is_run, save_run
from medood.scoring.calibrate import calibrate, check_enough, check_pooling
from medood.training.checkpoints.checkpoint import can_go_on, checkpoint_bytes, discard_checkpoint, is_interrupted
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
            _guard(out, recipe, resume, overwrite)
        if processes.from_first(leads and _is_done(out, recipe, resume and not overwrite)):
            console.say(f"{out} is finished. Train it for longer with --resume --set training.epochs=N, or anew with --overwrite.")
            return out
        torch.manual_seed(recipe.seed)
        detector = build_detector(recipe)  # before any file is read: a size or a plan that does not fit is known at once
        recipe = with_checksum(recipe, detector)
        adopt_weights(detector, recipe)
        keep_features(detector, feature_folder(cache))
        check_plan(detector.phases(), recipe.training)
        check_pooling(detector, recipe)
        recipe, parts = processes.from_first(normal_images(recipe, data, cache, console, index) if leads else None)
        images, held_out = parts["train"], parts["held_out"]
        check_enough(held_out, recipe)
        check_held_out(detector.phases(), len(held_out))
        for run in recipe.detector.get("runs", []):
            require_same_images(Path(run), parts)
        recipe, contrast = _contrast(recipe, parts, cache, console)
        if forecast := detector.forecast(len(images)):
            console.say(forecast)
        images_used = _fingerprint(parts)
        if resume and leads:
            _require_same(out, recipe, images_used)
        if overwrite and leads:
            (out / "manifest.json").unlink(missing_ok=True)  # a run that is being replaced is no longer complete
        started = time.perf_counter()
        with _remembered(out, recipe, images_used) if leads else nullcontext():
            options: dict[str, Any] = {"seed": recipe.seed, "device": target, "resume": resume, "progress": progress}
            options |= {"augment": augmentation(recipe.augment), "contrast": contrast}
            train(detector, images, held_out, recipe.training, out, **options)
        seconds = round(time.perf_counter() - started, 1)
        facts: dict[str, Any] = {"training_seconds": seconds, "device": str(target), "train_images": len(images), "index": images_used}
        facts |= {"processes": processes.count()} if processes.count() > 1 else {}
        calibration, scores = _calibration(detector, held_out, recipe, target, console)
        if leads:
            gate = _gate(images, held_out, recipe, scores, describer(detector, target), console)
            files = [write_hashed(out, list(parts.values())), gate.save(out)]
            save_run(out, recipe, detector, calibration, _index_rows(parts), facts, files=files)
            _tidy(out, keep_checkpoint, console)
    return out


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


def _guard(out: Path, recipe: Recipe, resume: bool, overwrite: bool) -> None:
    """Refuse to touch what is there unless asked to, and remove what a process that was killed left half-written."""
    if is_run(out) and not (resume or overwrite):
        raise MedoodError(
            f"{out} already holds a finished run. Choose another folder with --out, replace it with --overwrite, or train it for longer "
            "with --resume --set training.epochs=N."
        )
    if can_go_on(out) and not (is_run(out) or resume or overwrite):
        raise MedoodError(f"{out} holds an interrupted training. Continue it with --resume, or start anew with --overwrite.")
    if is_run(out) and not (overwrite or can_go_on(out) or _is_done(out, recipe, resume)):
        raise MedoodError(
            f"{out} is finished and holds no checkpoint to go on from: none was kept, or the detector has no phase that learns in epochs. "
            "Choose another --out, or start anew with --overwrite."
        )
    for part in (*out.glob(".part-*"), *(out / "checkpoint").glob(".part-*")):
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def _is_done(out: Path, recipe: Recipe, resume: bool) -> bool:
    """Whether there is nothing to go on with: the run is finished and was made from the same recipe."""
    return resume and is_run(out) and not is_interrupted(out) and not changed_keys(_begun(out / "run.json")[0], recipe)


def _begun(path: Path) -> tuple[Recipe, str]:
    """The recipe and the fingerprint of the images of the training that training.json or run.json is about."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        index = content["index"] if path.name == "training.json" else content["provenance"]["index"]
        return Recipe.model_validate_json(json.dumps(content["recipe"])), index
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResumeError(f"{path} is missing or damaged, so the training cannot be resumed: start anew with --overwrite.") from error


def _require_same(out: Path, recipe: Recipe, index: str) -> None:
    """Refuse to resume a training of something else; it may only be of another number of epochs."""
    if not (is_run(out) or can_go_on(out)):
        return
    before, images = _begun(out / ("training.json" if is_interrupted(out) or not is_run(out) else "run.json"))
    same_epochs = before.training.model_copy(update={"epochs": recipe.training.epochs})
    changed = changed_keys(before.model_copy(update={"training": same_epochs}), recipe)
    changed += ["the training images"] if images != index else []
    if changed:
        raise ResumeError(
            f"{out} was begun with another recipe or other images (changed: {', '.join(changed)}), so it cannot be resumed; only "
            "training.epochs may change. Undo the change, choose another --out, or start anew with --overwrite."
        )


@contextmanager
def _remembered(out: Path, recipe: Recipe, index: str) -> Iterator[None]:
    """training.json says what is being trained; a training that does not even begin leaves it as it was."""
    path = out / "training.json"
    before = json.loads(path.read_text(encoding="utf-8")) if is_interrupted(out) and path.is_file() else None
    write_json(path, {"recipe": recipe.model_dump(mode="json"), "index": index})
    try:
        yield
    except BaseException as error:
        if isinstance(error, ResumeError) and before is not None:
            write_json(path, before)
        elif isinstance(error, ResumeError) or not is_interrupted(out):
            path.unlink(missing_ok=True)
        raise


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


def _tidy(out: Path, keep_checkpoint: bool, console: Console) -> None:
    """What only an unfinished run needs goes; what a longer training needs may stay."""
    discard_checkpoint(out, keep_ends=keep_checkpoint)
    (out / "training.json").unlink()
    console.say(f"Run saved in {out}")
    if kept := checkpoint_bytes(out):
        console.say(f"{out / 'checkpoint'} ({kept / 1e6:.0f} MB) serves to train for longer with --resume; delete it if you will not.")


def _fingerprint(parts: Mapping[str, CachedImages]) -> str:
    """Changes when any training or held-out image changes, and not when the same images lie elsewhere or were copied there again."""
    keys = sorted(f"{part} {e.entry.id} {e.digest}" for part, images in parts.items() for e in images.entries)
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
