"""What normal images are told from: unlabelled images of other things, anomalies pasted into the normal ones, or their numbers mixed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from medood.core.detector import Batch, Detector, ImageSpec, Phase
from medood.core.errors import TrainingError
from medood.nets.images.pasted import Paste
from medood.training.data import Images
from medood.training.inputs import has_inputs
from medood.training.randomness import derived_seed

Made = Literal["synthetic", "product_of_marginals"]
MADE: tuple[Made, ...] = get_args(Made)
"""Contrasts that are made of the training images."""


@dataclass(frozen=True)
class Contrast:
    """Unlabelled images of two sets of patients, the second for validation alone; `held_out` may be empty."""

    images: Images
    held_out: Images


Against = Contrast | Literal["product_of_marginals"] | None
"""What the trainer is given."""


class Pasted:
    """Every image with anomalies pasted into it, the same ones each time it is asked for."""

    def __init__(self, images: Images, spec: ImageSpec, seed: int) -> None:
        self.images, self.spec, self.seed = images, spec, seed
        self.paste = Paste(share=1.0, low=spec.low, high=spec.high)

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, numbers: np.ndarray) -> Tensor:
        partners = (numbers + 1 + len(self) // 2) % len(self)  # whom foreign patches come from
        pairs = zip(numbers.tolist(), self.images.gather(numbers), self.images.gather(partners), strict=True)
        return torch.stack([self._one(number, torch.stack(pair)) for number, *pair in pairs])

    def _one(self, number: int, pair: Tensor) -> Tensor:
        background = self.spec.background
        inside = torch.ones_like(pair[:, :1], dtype=torch.bool) if background is None else (pair != background).any(1, keepdim=True)
        return self.paste(pair, inside, torch.Generator().manual_seed(derived_seed(self.seed, "pasted", number))).image[0]


def made_of(kind: Made, images: Images, held_out: Images, spec: ImageSpec, seed: int) -> Against:
    """The contrast of a `kind` that needs no other images."""
    if kind == "product_of_marginals":
        return kind
    if spec.height == spec.width == 1:
        raise TrainingError("`synthetic` pastes anomalies into images, and a table of numbers has none: choose another contrast.")
    return Contrast(Pasted(images, spec, derived_seed(seed, "train")), Pasted(held_out, spec, derived_seed(seed, "held out")))


def check_contrast(detector: Detector, against: Against) -> None:
    """Raises TrainingError when a detector has no contrast and needs one, has one and no use for it, or when it is without images."""
    name = type(detector).__name__
    if detector.learns_from_contrast and against is None:
        raise TrainingError(f"{name} learns to tell normal images from others and was given none. {HOW}")
    if against is not None and not detector.learns_from_contrast:
        raise TrainingError(f"{name} learns from normal images alone and has no use for a contrast: leave `contrast` out.")
    if isinstance(against, Contrast) and len(against.images) == 0:
        raise TrainingError("The contrast has no images: check its folder, its labels (images labelled anomalous are left out) and parts.")


HOW = (
    "Name unlabelled images of other things under `contrast`, as a source: {name: folder, root: ...}; or `contrast: synthetic` for pasted "
    "anomalies; or `contrast: product_of_marginals`."
)


def check_marginals(phases: list[Phase], against: Against) -> None:
    """Raises TrainingError for a product of marginals of what are no features."""
    if against == "product_of_marginals" and not any(has_inputs(phase) for phase in phases):
        raise TrainingError("`product_of_marginals` mixes features that are trained on, and this detector trains on none: choose another.")


def mixed(batch: Batch, seed: int) -> Batch | None:
    """A batch of the product of marginals: each of its `inputs` (B, ..., d) has every number from another image drawn at random.

    None for a batch without inputs.
    """
    if batch.inputs is None:
        return None
    keys = torch.rand((len(batch.inputs), batch.inputs.shape[-1]), generator=torch.Generator().manual_seed(seed))
    order = keys.argsort(0).view(len(keys), *(1 for _ in batch.inputs.shape[1:-1]), -1).expand_as(batch.inputs)
    return Batch(batch.image, inputs=batch.inputs.gather(0, order))
