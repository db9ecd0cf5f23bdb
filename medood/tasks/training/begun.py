"""What a run folder holds already: a finished run, an interrupted training, or nothing; and what may go on from there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from medood.core.errors import MedoodError, ResumeError
from medood.core.files.atomic import write_json
from medood.data.cache import CachedImages
from medood.recipe.differences import changed_keys
from medood.recipe.recipe import Recipe
from medood.recipe.run import is_run
from medood.training.checkpoints.checkpoint import can_go_on, is_interrupted


def guard(out: Path, recipe: Recipe, resume: bool, overwrite: bool) -> None:
    """Refuse to touch what is there unless asked to, and remove what a process that was killed left half-written."""
    if is_run(out) and not (resume or overwrite):
        raise MedoodError(
            f"{out} already holds a finished run. Choose another folder with --out, replace it with --overwrite, or train it for longer "
            "with --resume --set training.epochs=N."
        )
    if can_go_on(out) and not (is_run(out) or resume or overwrite):
        raise MedoodError(f"{out} holds an interrupted training. Continue it with --resume, or start anew with --overwrite.")
    if is_run(out) and not (overwrite or can_go_on(out) or is_done(out, recipe, resume)):
        raise MedoodError(
            f"{out} is finished and holds no checkpoint to go on from: none was kept, or the detector has no phase that learns in epochs. "
            "Choose another --out, or start anew with --overwrite."
        )
    for part in (*out.glob(".part-*"), *(out / "checkpoint").glob(".part-*")):
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def is_done(out: Path, recipe: Recipe, resume: bool) -> bool:
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


def require_same(out: Path, recipe: Recipe, index: str) -> None:
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
def remembered(out: Path, recipe: Recipe, index: str) -> Iterator[None]:
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


def fingerprint(parts: Mapping[str, CachedImages]) -> str:
    """Changes when any training or held-out image changes, and not when the same images lie elsewhere or were copied there again."""
    keys = sorted(f"{part} {e.entry.id} {e.digest}" for part, images in parts.items() for e in images.entries)
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
