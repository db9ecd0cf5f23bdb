"""Phantoms with and without planted lesions, and a bare training loop, for the tests of detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from seeds import shifted
from torch import Tensor
from torch.nn.functional import interpolate

from medood.core.detector import Batch, Detector, ImageSpec, Phase
from medood.features.interface import Extractor
from medood.nets.images.pasted import Paste
from medood.recipe import catalogue
from medood.transforms.hidden_parts import HidesParts

Lesion = Literal["bright", "dark", "texture"]
LESIONS: tuple[Lesion, ...] = ("bright", "dark", "texture")


def phantoms(spec: ImageSpec, count: int, seed: int) -> Tensor:
    """Discs of 0.3 to 0.7 of the range, a few pixels off the centre, with the same anatomy and some smooth texture of their own; exactly
    `spec.low` outside."""
    random = torch.Generator().manual_seed(seed)
    anatomy = torch.rand((1, spec.channels, 6, 6), generator=torch.Generator().manual_seed(0)) - 0.5
    texture = torch.rand((count, spec.channels, 6, 6), generator=random) - 0.5
    texture = 0.5 + interpolate(0.25 * anatomy + 0.1 * texture, (spec.height, spec.width), mode="bicubic")
    image = texture + 0.01 * torch.randn(texture.shape, generator=random)
    side = min(spec.height, spec.width)
    centre = (torch.rand((2, count, 1, 1), generator=random) - 0.5) * 0.03 * side
    radius = side * (0.4 + 0.015 * torch.rand((count, 1, 1), generator=random))
    inside = _distance(spec, centre) < radius
    image = torch.where(inside[:, None], image.clamp(0.3, 0.7), 0.0)
    return spec.low + (spec.high - spec.low) * image


def plant(spec: ImageSpec, images: Tensor, kind: Lesion, seed: int, radius: float = 0.1) -> tuple[Tensor, Tensor]:
    """The images with one lesion each, a disc with a `radius` in sides of the image, and bool (B, 1, H, W) where it is."""
    random = torch.Generator().manual_seed(seed)
    side = min(spec.height, spec.width)
    centre = (torch.rand((2, len(images), 1, 1), generator=random) - 0.5) * 0.4 * side
    inside = (_distance(spec, centre) < radius * side)[:, None]
    rows, columns = torch.arange(spec.height)[:, None], torch.arange(spec.width)
    checks = ((rows // 2 + columns // 2) % 2).float() - 0.5
    change = {"bright": torch.tensor(0.4), "dark": torch.tensor(-0.3), "texture": 0.6 * checks}[kind]
    changed = images + (spec.high - spec.low) * change
    lowest = spec.low + 0.02 * (spec.high - spec.low)  # still not background
    return torch.where(inside, changed.clamp(lowest, spec.high), images), inside


def _distance(spec: ImageSpec, centre: Tensor) -> Tensor:
    """(B, H, W) pixels from the middle of the image plus `centre` (2, B, 1, 1)."""
    y = torch.arange(spec.height)[:, None] - (spec.height - 1) / 2 - centre[0]
    x = torch.arange(spec.width) - (spec.width - 1) / 2 - centre[1]
    return (x.square() + y.square()).sqrt()


@dataclass
class Training:
    """Trains a detector's phases on images as the trainer does, in memory; the same seed gives the same weights.

    epochs  at most so many of a learning phase
    hide    draws what is hidden, afresh for every image of every batch
    contrast  makes the contrast of a batch out of its images
    after_backward  called after backward and before the optimizer's step, with phase and optimizer name
    """

    epochs: int
    hide: HidesParts | None = None
    batch_size: int = 16
    seed: int = 0
    contrast: Callable[[Tensor], Tensor] | None = None
    after_backward: Callable[[Phase, str], None] = lambda phase, name: None
    losses: list[dict[str, Tensor]] = field(default_factory=list)

    def fit(self, detector: Detector, images: Tensor, held_out: Tensor | None = None) -> Detector:
        seed = shifted(self.seed)
        random = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        if self.hide is not None:
            self.hide.set_random_state(seed=seed)
        for phase in detector.phases():
            learns = bool(phase.optimizers)
            detector.train(learns)
            with torch.no_grad():
                phase.begin()
            for _ in range(min(phase.epochs, self.epochs) if learns else phase.epochs):
                given = held_out if phase.held_out and held_out is not None else images
                for numbers in torch.randperm(len(given), generator=random).split(self.batch_size):
                    with torch.set_grad_enabled(learns):
                        self.losses.append(phase.step(self.batch(given[numbers]), self._update(phase)))
            with torch.no_grad():
                phase.finish()
        detector.eval()
        detector.fitted_.fill_(True)
        return detector

    def batch(self, images: Tensor) -> Batch:
        contrast = None if self.contrast is None else Batch(self.contrast(images))
        hidden = None if self.hide is None else torch.stack([self.hide({"image": image})["hidden"] for image in images])
        return Batch(images, hidden, classes=brighter_side(images), contrast=contrast)

    def _update(self, phase: Phase) -> Callable[[Tensor, str], None]:
        def update(loss: Tensor, name: str) -> None:
            optimizer = phase.optimizers[name]
            optimizer.zero_grad(set_to_none=True)
            loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"] if p.requires_grad])
            self.after_backward(phase, name)
            optimizer.step()

        return update


def brighter_side(images: Tensor) -> Tensor:
    """int64 (B,): 1 for the half of the images whose left half is the brightest beside the right one, as two classes of normal images."""
    middle = images.shape[-1] // 2
    brighter = images[..., :middle].mean((1, 2, 3)) - images[..., -middle:].mean((1, 2, 3))
    return (brighter > brighter.median()).long()


def pasted(spec: ImageSpec) -> Callable[[Tensor], Tensor]:
    """A contrast for images of the spec: anomalies pasted into them, the same ones into the same images."""
    paste = Paste(share=1.0, low=spec.low, high=spec.high)
    return lambda images: paste(images, images != spec.low, torch.Generator().manual_seed(0)).image


def extractor(spec: ImageSpec, features: Mapping[str, Any]) -> Extractor:
    """What a recipe's `features` stands for: its name and parameters."""
    parameters = dict(features)
    return catalogue.features()[parameters.pop("name")].load()(spec, **parameters)


def build(make: Callable[[], Detector], seed: int = 0) -> Detector:
    """A new detector whose first weights follow from the seed."""
    torch.manual_seed(shifted(seed))
    return make()
