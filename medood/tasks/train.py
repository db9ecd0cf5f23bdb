"""A recipe to a run: index, split by patient, prepare, train, calibrate, save."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import InputError, MedoodError, TrainingError
from medood.core.files import atomic_file, write_json
from medood.core.recipe import Recipe, changed_keys
from medood.core.run import build_detector, is_run, save_run, with_checksum
from medood.core.volume import Entry
from medood.data.cache import Cache, CachedEntry, CachedImages, feature_folder
from medood.data.opening import open_source
from medood.data.side_by_side import side_by_side
from medood.data.split import split
from medood.features.interface import keep_features
from medood.scoring.calibrate import calibrate, check_enough
from medood.training.checkpoint import discard_checkpoint
from medood.training.progress import Silence
from medood.training.trainer import train
from medood.transforms.pipeline import Pipeline, augmentation


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
) -> Path:
    """Train the recipe's detector into the run folder `out` and return it; `progress` as for the trainer.

    Nothing about anomalies reaches training: entries and slices with a label other than normal are left out before the split.
    """
    console = Console()
    _guard(out, resume, overwrite)
    target = pick_device(device)
    torch.manual_seed(recipe.seed)
    detector = build_detector(recipe)  # before any file is read: a size that the detector refuses is known at once
    recipe = with_checksum(recipe, detector)
    keep_features(detector, feature_folder(cache))
    name, parameters = recipe.choice("source")
    root = data or parameters.pop("root", None)
    parameters.pop("root", None)
    source = open_source(name, root, **parameters)
    with console.step("Indexing"):
        index = source.index()
    parts = split(index, recipe)
    store = Cache(Pipeline(recipe.transforms), (name, parameters), cache)
    prepared = {part: _prepare(store, source, entries, part, console) for part, entries in vars(parts).items()}
    images, held_out = (CachedImages(prepared[part]) for part in ("train", "held_out"))
    _enough(images, held_out)
    check_enough(held_out, recipe)
    groups = len(set(images.groups)), len(set(held_out.groups))
    console.say(f"Training on {len(images)} normal images of {groups[0]} patients; {len(held_out)} of {groups[1]} patients are held out.")
    if forecast := detector.forecast(len(images)):
        console.say(forecast)
    (out / "manifest.json").unlink(missing_ok=True)  # a run that is being replaced is no longer complete
    _same_training(out, recipe, _fingerprint(prepared), resume)
    started = time.perf_counter()
    train(
        detector,
        images,
        held_out,
        recipe.training,
        out,
        seed=recipe.seed,
        device=target,
        augment=augmentation(recipe.augment),
        resume=resume,
        progress=progress,
    )
    seconds = time.perf_counter() - started
    with console.step("Calibrating on the held-out normal images"):
        calibration = calibrate(detector, held_out, prepared["train"], recipe, target)
    if calibration["series"] is None and any(entry.entry.slices > 1 for entry in held_out.entries):
        console.say(f"Slices get p-values and decisions, whole series get scores only: {calibration['series_reason']}")
    facts = {"training_seconds": round(seconds, 1), "device": str(target), "train_images": len(images), "index": _fingerprint(prepared)}
    save_run(out, recipe, detector, calibration, _index_rows(prepared), facts)
    discard_checkpoint(out)
    (out / "training.json").unlink()
    console.say(f"Run saved in {out}")
    return out


def _prepare(store: Cache, source: Any, entries: Sequence[Entry], part: str, console: Console) -> list[CachedEntry]:
    """All entries of a part in the cache; those that cannot be used are named and left out."""

    def one(entry: Entry) -> CachedEntry | str:
        try:
            return store.prepared(source, entry)
        except InputError as error:
            return f"{entry.id}: {error}"

    results = []
    for result in console.track(side_by_side(one, entries, workers=4, ahead=8), f"Preparing {part.replace('_', '-')} images", len(entries)):
        if isinstance(result, str):
            console.warn(f"Left out: {result}")
        else:
            results.append(result)
    return results


def _enough(images: CachedImages, held_out: CachedImages) -> None:
    if len(images) < 2:
        raise TrainingError(
            f"Found {len(images)} normal training image(s), at least 2 are needed. `medood inspect` shows what is in the folder."
        )
    if len(held_out) == 0:
        raise TrainingError("No normal image is left to hold out; raise `split.held_out` or add patients.")


def _guard(out: Path, resume: bool, overwrite: bool) -> None:
    if is_run(out) and not overwrite:
        raise MedoodError(f"{out} already holds a finished run. Choose another folder with --out, or replace it with --overwrite.")
    if (out / "checkpoint").is_dir() and not (resume or overwrite):
        raise MedoodError(f"{out} holds an interrupted training. Continue it with --resume, or start anew with --overwrite.")
    with atomic_file(out / "trial"):  # a folder that cannot be written is known before the images are prepared
        pass
    (out / "trial").unlink()


def _same_training(out: Path, recipe: Recipe, index: str, resume: bool) -> None:
    """Remember what is being trained, and refuse to resume something else."""
    path = out / "training.json"
    if resume and path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = changed_keys(Recipe.model_validate_json(json.dumps(before["recipe"])), recipe)
            changed += ["the training images"] if before["index"] != index else []
        except (ValueError, TypeError, KeyError) as error:
            raise TrainingError(f"{path} is damaged, so the training cannot be resumed: start anew with --overwrite.") from error
        if changed:
            raise TrainingError(
                f"{out} was begun with another recipe or other images (changed: {', '.join(changed)}), so it cannot be resumed. "
                "Undo the change, choose another --out, or start anew with --overwrite."
            )
    write_json(path, {"recipe": recipe.model_dump(mode="json"), "index": index})


def _index_rows(prepared: dict[str, list[CachedEntry]]) -> list[dict[str, Any]]:
    return [
        {"id": e.entry.id, "group": e.entry.group, "part": part, "images": int((e.labels == 0).sum())}
        for part, entries in prepared.items()
        for e in entries
    ]


def _fingerprint(prepared: dict[str, list[CachedEntry]]) -> str:
    """Changes when any training or held-out image changes."""
    keys = sorted(f"{part} {e.folder.name}" for part, entries in prepared.items() for e in entries)
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
