"""The folder that training leaves: complete by itself, without pickle, and checked before it is used."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from medood import __version__
from medood.core.detector import Detector
from medood.core.errors import MedoodError, RecipeError, RunError
from medood.core.files.atomic import sha256, write_json, write_tensors
from medood.recipe.building import build_detector, image_spec
from medood.recipe.loading import resolve
from medood.recipe.recipe import Recipe
from medood.recipe.run_content import calibration_in, index_in

_FORMAT = 2
"""Changes when a run of an older medood can no longer be read."""

_FILES = ("run.json", "weights.safetensors", "calibration.json", "index.json")


@dataclass(frozen=True)
class Run:
    """A trained and calibrated detector.

    recipe       resolved: every default and the content of its transforms file
    detector     loaded, on the CPU, in eval mode
    calibration  what tasks wrote there: conformal scores, thresholds, the map's colour scale
    provenance   versions, seed, time, fingerprint of the training images
    """

    folder: Path
    recipe: Recipe
    detector: Detector
    calibration: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name


def save_run(
    folder: Path,
    recipe: Recipe,
    detector: Detector,
    calibration: dict[str, Any],
    index: list[dict[str, Any]],
    training: dict[str, Any],
    files: Sequence[str] = (),
) -> None:
    """Write the files of a run and, last of all, the manifest that makes it complete; a run that is there is replaced.

    `index` has one object per training or held-out entry: id, group, part, images. `training` is added to the provenance. `files` are
    names of further files of the run, in its folder already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in detector.state_dict().items()}
    write_tensors(folder / "weights.safetensors", state)
    write_json(folder / "calibration.json", calibration)
    write_json(folder / "index.json", index)
    content = {
        "format": _FORMAT,
        "recipe": recipe.model_dump(mode="json"),
        "spec": asdict(image_spec(recipe)),
        "provenance": provenance(recipe) | training,
    }
    write_json(folder / "run.json", content)
    write_json(folder / "manifest.json", {name: sha256(folder / name) for name in (*_FILES, *files)})


def add_file(folder: Path, name: str) -> None:
    """Make a file in the folder of a finished run part of it."""
    _verify(folder, without=name)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    write_json(folder / "manifest.json", manifest | {name: sha256(folder / name)})


def load_run(folder: Path) -> Run:
    """Raises RunError naming the file that is missing or was altered and what to do."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _verify(folder)
    content = _content(folder)
    recipe = _recipe(folder, content)
    calibration = calibration_in(folder)
    index_in(folder)
    try:
        detector = build_detector(recipe)
        detector.load_state_dict(load_file(folder / "weights.safetensors"))
    except (MedoodError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        said = f" ({error})" if isinstance(error, MedoodError) else ""
        raise RunError(
            f"{folder}: the weights do not fit the detector {recipe.detector['name']!r} of medood {__version__}{said}; {_other(content)}"
        ) from error
    if not bool(detector.fitted_):
        raise RunError(f"{folder}: the weights are those of a detector that was not trained: train it again.")
    if recipe.training.channels_last:  # as it was calibrated: another layout is slower and differs in the last bits
        detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    return Run(folder, recipe, detector.eval(), calibration, content["provenance"])


def recipe_of(folder: Path) -> Recipe:
    """The recipe that a run was made from, without its weights. Raises RunError as `load_run` does."""
    _verify(folder)
    return _recipe(folder, _content(folder))


def _content(folder: Path) -> dict[str, Any]:
    """run.json, if this medood wrote it or one whose runs it can read."""
    try:
        content: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if content["format"] == _FORMAT and isinstance(content["recipe"], dict) and content["provenance"]["medood"]:
            return content
    except (ValueError, KeyError, TypeError):
        pass
    raise RunError(f"{folder} was made by another version of medood than {__version__}, which cannot read it: train it again.")


def _recipe(folder: Path, content: dict[str, Any]) -> Recipe:
    """The recipe in run.json, checked as any other: another version may know other detectors, steps and keys."""
    try:
        return resolve(content["recipe"], {}, str(folder / "run.json"))
    except RecipeError as error:
        raise RunError(f"{folder} was made from a recipe that medood {__version__} does not know: {error}\n{_other(content)}") from error


def _other(content: dict[str, Any]) -> str:
    return f"The run was made by medood {content['provenance']['medood']}: train it again, or install that version."


def is_run(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def _verify(folder: Path, without: str = "") -> None:
    """Raises RunError unless every file of the run is what it was, that called `without` aside."""
    if not folder.is_dir():
        raise RunError(f"There is no run folder {folder}. `medood train RECIPE --out {folder}` makes one.")
    if not is_run(folder):
        hint = (
            "its training did not finish: continue it with `medood train ... --resume`" if (folder / "checkpoint").is_dir() else "not a run"
        )
        raise RunError(f"{folder} has no manifest.json: {hint}.")
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        wanted = {name: manifest[name] for name in (*_FILES, *sorted(set(manifest) - set(_FILES)))}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise RunError(f"{folder / 'manifest.json'} is damaged. Restore the folder from a copy or train again.") from error
    wanted.pop(without, None)
    for name, digest in wanted.items():
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is missing. Restore the folder from a copy or train again.")
        if sha256(folder / name) != digest:
            raise RunError(f"{folder / name} was altered after training (its checksum differs). Restore it from a copy or train again.")


def provenance(recipe: Recipe) -> dict[str, Any]:
    """Versions, seed, machine and time of this moment."""
    import monai
    import torch

    return {
        "medood": __version__,
        "commit": _commit(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "monai": monai.__version__,
        "platform": platform.platform(),
        "seed": recipe.seed,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """The commit of the checkout that medood runs from, if it is one."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
