"""Images through a trained detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from medood.core.detector import Detector
from medood.core.errors import InputError
from medood.core.shield import kind_of
from medood.features.interface import Extractor, each_batch_once

OUT_OF_MEMORY = "out_of_memory"
"""Code of what failed for want of memory, and may work with fewer images at a time."""


@dataclass(eq=False)
class Scored:
    """Scores of n images as arrays: image (n,), map (n, height, width) or None, patches (n, h, w) or None, parts by name (n,).

    residual  (n, height, width) image minus reconstruction, mean over the channels, where it was asked for
    plain     trivial features (n,) by name that were pooled as the map was
    features  (n, d) means of the features that the detector works on, where they were asked for
    shown     bool (n, height, width) where written maps show the map, None: everywhere in the body
    """

    image: np.ndarray
    map: np.ndarray | None
    patches: np.ndarray | None
    parts: dict[str, np.ndarray]
    residual: np.ndarray | None = None
    plain: Mapping[str, np.ndarray] = field(default_factory=dict)
    features: np.ndarray | None = None
    shown: np.ndarray | None = None

    def __getitem__(self, rows: slice) -> Scored:
        return Scored(
            self.image[rows],
            None if self.map is None else self.map[rows],
            None if self.patches is None else self.patches[rows],
            {name: values[rows] for name, values in self.parts.items()},
            None if self.residual is None else self.residual[rows],
            {name: values[rows] for name, values in self.plain.items()},
            None if self.features is None else self.features[rows],
            None if self.shown is None else self.shown[rows],
        )


def score_images(
    detector: Detector,
    images: Tensor,
    batch_size: int,
    device: torch.device,
    *,
    residual: bool = False,
    features: Extractor | None = None,
) -> Scored:
    """Score (n, C, H, W) images in batches, with their residuals if wanted, and their mean `features`, of a network in the detector.

    Raises InputError when a value is not a finite number.
    """
    pieces = [_score(detector, batch, device, residual, features) for batch in images.split(batch_size)]
    scored = Scored(
        np.concatenate([piece.image for piece in pieces]),
        _joined([piece.map for piece in pieces]),
        _joined([piece.patches for piece in pieces]),
        {name: np.concatenate([piece.parts[name] for piece in pieces]) for name in pieces[0].parts},
        _joined([piece.residual for piece in pieces]),
        features=_joined([piece.features for piece in pieces]),
    )
    if not all(np.isfinite(values).all() for values in (scored.image, scored.map, scored.patches) if values is not None):
        raise InputError(
            f"{type(detector).__name__} gave a score that is not a finite number. If it does so for every image, its training diverged: "
            "train it again.",
            "not_finite_score",
        )
    return scored


def refusal(error: BaseException) -> InputError:
    """What to say of an entry on which the network failed; the words of libraries may quote what they were given."""
    if isinstance(error, RuntimeError) and any(words in str(error) for words in ("out of memory", "allocate memory")):  # CUDA, MPS; CPU
        return InputError("there is not enough memory to score it, not even one slice at a time.", OUT_OF_MEMORY)
    return InputError(f"the detector cannot score it ({kind_of(error)}).", f"not_scored:{kind_of(error)}")


def reconstruct_images(detector: Detector, images: Tensor, batch_size: int, device: torch.device) -> dict[str, np.ndarray]:
    """Reconstructions (n, C, H, W) of (n, C, H, W) images by their titles, made in batches; empty for a method that makes none."""
    pieces = [detector.reconstructions(batch.to(device)) for batch in images.split(batch_size)]
    return {title: np.concatenate([piece[title].float().cpu().numpy() for piece in pieces]) for title in pieces[0]}


def make_normal(detector: Detector, images: Tensor, device: torch.device) -> np.ndarray | None:
    """(n, C, H, W) images made more normal in the eyes of the detector; None for a method that cannot."""
    made = detector.made_normal(images.to(device))
    return None if made is None else made.float().cpu().numpy()


def _score(detector: Detector, images: Tensor, device: torch.device, residual: bool, features: Extractor | None) -> Scored:
    images = images.to(device)
    with each_batch_once(detector):
        scores = detector.score(images)
        means = None if features is None else features.means(images).cpu().numpy()
    parts = {name: value.double().cpu().numpy() for name, value in scores.parts.items()}
    signed = _residual(detector, images) if residual else None
    return Scored(scores.image.double().cpu().numpy(), _grid(scores.map), _grid(scores.patches), parts, _grid(signed), features=means)


def _residual(detector: Detector, images: Tensor) -> Tensor:
    """(B, 1, H, W): image minus the finished reconstruction."""
    *_, reconstruction = detector.reconstructions(images).values()
    return (images - reconstruction).mean(1, keepdim=True)


def _grid(value: Tensor | None) -> np.ndarray | None:
    return None if value is None else value[:, 0].float().cpu().numpy()


def _joined(pieces: list[np.ndarray | None]) -> np.ndarray | None:
    return None if any(piece is None for piece in pieces) else np.concatenate([piece for piece in pieces if piece is not None])
