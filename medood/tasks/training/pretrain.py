"""Teach the network of a recipe's features on the recipe's own images, without labels, and save its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medood.core.console import Console
from medood.core.device import pick_device
from medood.core.errors import MedoodError, ResumeError
from medood.core.files.atomic import sha256, write_json, write_tensors
from medood.core.files.lock import alone
from medood.data.cache import CachedImages
from medood.data.normal_images import normal_images
from medood.features.network import FrozenNetwork
from medood.pretraining.sim_siam import SimSiam
from medood.recipe.building import extractor_of, image_spec
from medood.recipe.recipe import Recipe, Training
from medood.training.checkpoints.checkpoint import can_go_on, discard_checkpoint
from medood.training.trainer import train
from medood.training.watching.progress import Silence

WEIGHTS = "weights.safetensors"
_NETWORKS = ("efficientnet_lite0", "resnet18", "resnet50")  # whose layer 4 is the last
_BEGUN = "pretraining.json"


def pretrain_recipe(
    recipe: Recipe,
    out: Path,
    *,
    data: Path | None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    cache: Path | None = None,
    index: str | None = None,
    progress: Silence | bool = True,
) -> Path:
    """Train the network of the recipe's features further and return its weights file, `out`/weights.safetensors.

    It begins with `features.weights`, which may be random, and sees the images that a detector would be trained on: neither held-out ones
    nor anomalous ones nor a test; `index` names an index to know them by. `pretraining.json` says beside it what was done, history.jsonl
    how it went.

    Raises MedoodError when the features have no network that can be taught, or when something is there already; ResumeError when what was
    begun there is something else.
    """
    with alone(out / ".lock", out):
        console, target, weights = Console(), pick_device(device), out / WEIGHTS
        _guard(out, resume=resume, overwrite=overwrite)
        if resume and weights.is_file():
            console.say(f"{weights} is finished. Make others with another --out, or anew with --overwrite.")
            return weights
        torch.manual_seed(recipe.seed)
        detector, start = _detector(recipe)
        recipe, parts = normal_images(recipe, data, cache, console, index)
        images, plan = parts["train"], recipe.pretraining
        facts = _facts(recipe, start, images)
        _begin(out, facts, resume)
        kept = recipe.training.model_dump(include={"precision", "clip_norm", "channels_last", "tensorboard"})
        training = Training(batch_size=plan.batch_size, schedule="cosine", **kept)
        train(detector, images, parts["held_out"], training, out, seed=recipe.seed, device=target, resume=resume, progress=progress)
        write_tensors(weights, {name: value.cpu().contiguous() for name, value in detector.weights().items()})
        write_json(out / _BEGUN, {**facts, "sha256": sha256(weights), "spread": float(detector.spread_)})
        discard_checkpoint(out)
    _tell(console, recipe, weights)
    return weights


def _detector(recipe: Recipe) -> tuple[SimSiam, str | None]:
    """What the trainer trains, and the checksum of the weights that it begins with."""
    features, plan = recipe.features or {}, recipe.pretraining
    name = features.get("name")
    if name not in _NETWORKS:
        raise MedoodError(
            f"Nothing to pretrain: the features are {name or 'none'}, expected {', '.join(_NETWORKS[:-1])} or {_NETWORKS[-1]}. Say "
            "--set features.name=efficientnet_lite0 with a recipe whose detector works on features."
        )
    spec = image_spec(recipe)
    extractor: FrozenNetwork = extractor_of({**features, "layers": [4]}, spec)
    encoder = extractor.make()
    _fill(encoder, dict(extractor.network.named_buffers()))
    detector = SimSiam(
        spec,
        encoder,
        channels=extractor.shapes[0][0],
        size=extractor.size,
        scale=(extractor.mean, extractor.deviation),
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        smallest=plan.smallest_crop,
        flip=plan.flip,
        shrunk=plan.shrink_to,
    )
    return detector, extractor.sha256


def _fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """The values of a frozen network, whose parameters are buffers, but for the counters of its norms."""
    network.load_state_dict({name: tensors.get(name, value) for name, value in network.state_dict().items()})


def _facts(recipe: Recipe, start: str | None, images: CachedImages) -> dict[str, Any]:
    """What the weights follow from."""
    keys = sorted(each.folder.name for each in images.entries)
    return {
        "network": recipe.features["name"] if recipe.features else None,
        "begun_with": {"weights": recipe.features["weights"] if recipe.features else None, "sha256": start},
        "pretraining": recipe.pretraining.model_dump(mode="json"),
        "seed": recipe.seed,
        "images": len(images),
        "index": hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16],
    }


def _guard(out: Path, *, resume: bool, overwrite: bool) -> None:
    if (out / WEIGHTS).is_file() and not (resume or overwrite):
        raise MedoodError(f"{out} already holds pretrained weights. Choose another folder with --out, or replace them with --overwrite.")
    if can_go_on(out) and not (resume or overwrite):
        raise MedoodError(f"{out} holds an interrupted pretraining. Continue it with --resume, or start anew with --overwrite.")
    if (out / "run.json").is_file():
        raise MedoodError(f"{out} holds the run of a detector; choose another folder with --out.")
    if overwrite:
        (out / WEIGHTS).unlink(missing_ok=True)


def _begin(out: Path, facts: Mapping[str, Any], resume: bool) -> None:
    """pretraining.json says what is being made. Raises ResumeError when that is something else than what was begun."""
    path = out / _BEGUN
    if resume and can_go_on(out):
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ResumeError(
                f"{path} is missing or damaged, so the pretraining cannot be resumed: start anew with --overwrite."
            ) from error
        if changed := [key for key in facts if begun.get(key) != facts[key]]:
            raise ResumeError(
                f"{out} was begun with something else (changed: {', '.join(changed)}), so it cannot be resumed. Undo the change, choose "
                "another --out, or start anew with --overwrite."
            )
    write_json(path, facts)


def _tell(console: Console, recipe: Recipe, weights: Path) -> None:
    assert recipe.features is not None
    console.say(
        f"Use it with --set features.name={recipe.features['name']} --set features.weights={weights.resolve()} --set "
        f"features.sha256={sha256(weights)[:16]}, and look whether it beats features.weights=random and features.weights=imagenet."
    )
