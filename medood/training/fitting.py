"""Training without a folder, on images of one's own: what `Detector.fit` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.utils.data import DataLoader

from medood.core.detector import Augment, Detector, Epoch
from medood.core.errors import RecipeError, TrainingError
from medood.recipe.check import check
from medood.recipe.recipe import Training
from medood.training.contrast import MADE, Against, Contrast, made_of
from medood.training.data import Images
from medood.training.own_images import as_images
from medood.training.randomness import own_randomness
from medood.training.trainer import train
from medood.training.watching.progress import Silence


def fit(
    detector: Detector,
    images: Any,
    held_out: Any,
    *,
    seed: int,
    augment: Augment | None,
    contrast: Any,
    on_epoch: Callable[[Epoch], None] | None,
    training: Mapping[str, Any],
) -> None:
    """Train as `Detector.fit` says. The trainer's own files go into a folder that is gone afterwards."""
    size = {"batch_size": images.batch_size} if isinstance(images, DataLoader) and images.batch_size else {}
    plan = _plan(size | {"tensorboard": False} | dict(training))
    device = detector.fitted_.device
    train_images = as_images(images, detector.spec, "training images")
    held_out_images = as_images([] if held_out is None else held_out, detector.spec, "held-out images")
    if held_out is not None and not len(held_out_images):
        raise TrainingError("There are no held-out images: give some, or leave `held_out` out.")
    against = _against(contrast, train_images, held_out_images, detector, seed)
    with TemporaryDirectory(prefix="medood-") as folder, own_randomness(seed, device):
        train(
            detector,
            train_images,
            held_out_images,
            plan,
            Path(folder),
            seed=seed,
            device=device,
            augment=augment,
            contrast=against,
            progress=_Told(on_epoch) if on_epoch else Silence(),
        )


def _against(given: Any, images: Images, held_out: Images, detector: Detector, seed: int) -> Against:
    """The contrast that was asked for."""
    if given is None:
        return None
    if isinstance(given, str):
        if given not in MADE:
            raise TrainingError(f"contrast: found {given!r}, expected images or one of {', '.join(MADE)}.")
        return made_of(given, images, held_out, detector.spec, seed)
    nothing = as_images([], detector.spec, "contrast")
    return Contrast(as_images(given, detector.spec, "contrast"), nothing)


def _plan(training: Mapping[str, Any]) -> Training:
    problems: list[str] = []
    plan = check(Training, training, {}, "fit", problems)
    if plan is None:
        raise RecipeError(problems)
    return plan


class _Told(Silence):
    """Tells a function of every epoch."""

    def __init__(self, on_epoch: Callable[[Epoch], None]) -> None:
        self.on_epoch = on_epoch

    def begin(self, phase: str, epochs: int, images: int, epochs_done: int) -> None:
        self.phase = phase

    def end_epoch(self, epoch: int, losses: Mapping[str, float], validation: float | None) -> None:
        self.on_epoch(Epoch(self.phase, epoch, dict(losses), validation))
