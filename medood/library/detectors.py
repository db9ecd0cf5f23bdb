"""Detectors by their names, without a recipe: for arrays, for data sets and for training loops of one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from medood import __version__
from medood.core.detector import Augment, Detector, ImageSpec
from medood.core.errors import InputError, MedoodError, RecipeError
from medood.core.files.atomic import atomic_folder, write_json, write_tensors
from medood.recipe import catalogue
from medood.recipe.building import detector_of
from medood.recipe.check import nearest
from medood.recipe.choices import named
from medood.recipe.loading import check_steps
from medood.recipe.members import with_features
from medood.transforms import pipeline

_FORMAT = 1


def detector(
    name: str, spec: ImageSpec | tuple[int, int, int], *, features: str | Mapping[str, Any] | None = None, **parameters: Any
) -> Detector:
    """A new detector, not trained yet: `detector.fit(images, held_out)` trains it, `detector.score(images)` scores.

    name        of the detector; `medood detectors` lists them
    spec        of the images: (channels, height, width) for values in 0..1 without a background, or an ImageSpec
    features    what a detector works on that works on features: a name that `medood features` lists, or a mapping with its `name` and
                parameters; without it "efficientnet_lite0" with its published weights. Of the detectors that reconstruct, what
                `error="perceptual"` compares
    parameters  of the detector; `medood detectors NAME` explains them. The `members` of an ensemble are mappings, as in a recipe

    The scores are the method's own: higher is more anomalous. For p-values calibrate them on held-out normal images, one patient each here:
    `medood.Calibration.fit(held_out_scores, np.arange(len(held_out_scores))).p_value(scores)`. Recipes, runs and files need none of this.

    Its first weights come from torch's generator: call `torch.manual_seed` before to have the same again. It is a `torch.nn.Module`:
    `to`, `state_dict` and `parameters` are there, and `phases` for a training loop of your own (see `Detector.mark_fitted`).
    Raises MedoodError when there is no such detector or it cannot take such images, RecipeError naming every wrong parameter.

    >>> import medood
    >>> medood.detector("autoencoder", (1, 64, 64), latent=8).fitted
    False
    """
    cards = catalogue.detectors()
    if name not in cards:
        raise MedoodError(f"There is no detector called {name!r}{nearest(name, cards) or '.'} Known: {', '.join(cards)}.")
    spec = spec if isinstance(spec, ImageSpec) else ImageSpec(*spec)
    problems: list[str] = []
    section = named("", {"name": name, **parameters}, cards, {}, f"detector {name}", problems, ("detector",))
    given = {"name": features} if isinstance(features, str) else features and dict(features)
    values = {"detector": section, "features": given}
    filled, on = with_features(values, {}, f"detector {name}", problems)
    if problems or filled is None:
        raise RecipeError(problems)
    chosen = filled | ({"features": on} if on else {})
    made = detector_of(chosen, spec)
    made.made_as = name, {key: value for key, value in chosen.items() if key != "name"}
    return made


def save_detector(detector: Detector, folder: str | Path) -> Path:
    """Write a fitted detector that `medood.detector` made into a folder: weights as safetensors, the rest as JSON, no pickle.

    Replaces what is there. For p-values and maps in the geometry of files, train a run with `medood.train` instead.
    Raises MedoodError for one that is not fitted, or of a class of your own: keep the `state_dict` of such.
    """
    if detector.made_as is None or not detector.fitted:
        why = "has not been fitted" if detector.made_as else "was not made by medood.detector: save its state_dict"
        raise MedoodError(f"This {type(detector).__name__} cannot be saved: it {why}.")
    name, parameters = detector.made_as
    with atomic_folder(Path(folder)) as part:
        state = {key: value.detach().cpu().contiguous() for key, value in detector.state_dict().items()}
        write_tensors(part / "weights.safetensors", state)
        content = {"format": _FORMAT, "medood": __version__, "detector": name, "parameters": parameters, "spec": asdict(detector.spec)}
        write_json(part / "detector.json", content)
    return Path(folder)


def load_detector(folder: str | Path) -> Detector:
    """The detector that `save_detector` wrote, on the CPU and ready to score. Raises InputError when it is damaged or not there."""
    place = Path(folder)
    try:
        content = json.loads((place / "detector.json").read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise InputError(f"{place} was saved by medood {content['medood']}, which this version cannot read.", "version")
        made = detector(content["detector"], ImageSpec(**content["spec"]), **content["parameters"])
        made.load_state_dict(load_file(place / "weights.safetensors"))
    except OSError as error:
        raise InputError(f"{place} holds no saved detector; runs are loaded by medood.load.", "missing") from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{place} holds a damaged detector ({type(error).__name__}): save it again.", "unreadable") from error
    return made.eval()


def augmentation(steps: Sequence[str | dict[str, Any]]) -> Augment:
    """What `augment` of a recipe does, for `Detector.fit`: names of random steps, or {name: parameters}; `medood steps` lists them.

    Raises RecipeError with every mistake.

    >>> import medood, torch
    >>> sample = medood.augmentation(["mask_boxes"])({"image": torch.zeros(1, 64, 64)}, 7)
    >>> sample["hidden"].shape, sample["hidden"].dtype
    (torch.Size([1, 64, 64]), torch.bool)
    """
    made = pipeline.augmentation(check_steps(steps, "augmentation"))
    return made if made is not None else lambda sample, seed: sample
