"""A map for a detector that has none: how much its score falls when a place is hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor

from medood.core.detector import Detector, Phase, Scores
from medood.core.errors import MedoodError
from medood.core.types import PositiveInt
from medood.detectors.combination.image_keys import changed_copies_of
from medood.features.interface import Extractor, nothing_kept

_SPREAD = 0.5
"""Deviation of the Gaussian that fills a square, in sides of the square."""


class Occlusion(Detector):
    """A detector with a map by occlusion (Zeiler and Fergus, ECCV 2014); its scores are those of the detector.

    Squares that overlap are hidden one after the other and filled from what surrounds them inside the body, and the image is scored again.
    The map is by how much the score falls, mean over the squares that cover a pixel: positive where hiding made the image more normal.
    Every image is scored as many times as there are squares with some body in them, whose features are not kept.

    side     of the squares, in pixels; an eighth of the image's shorter side by default. They should cover what is looked for
    stride   from one square to the next, in pixels; half a side by default
    at_once  squares that are scored together; less needs less memory
    """

    def __init__(
        self, detector: Detector, *, side: PositiveInt | None = None, stride: PositiveInt | None = None, at_once: PositiveInt = 32
    ) -> None:
        super().__init__(detector.spec)
        spec = detector.spec
        name = type(detector).__name__
        if detector.localises:
            raise MedoodError(f"{name} has a map of its own as it is set here: leave `occlusion` out.")
        if not all(part.occludable for part in detector.modules() if isinstance(part, Extractor)):
            raise MedoodError(
                f"occlusion: a smooth square is as odd as any lesion to the features that {name} works on: take other features, or leave "
                "`occlusion` out."
            )
        self.side = side or max(2, min(spec.height, spec.width) // 8)
        if self.side > min(spec.height, spec.width):
            raise MedoodError(f"occlusion: squares of {self.side} pixels do not fit into images of {spec.height} x {spec.width}.")
        self.detector, self.at_once = detector, at_once
        self.stride = stride or max(1, self.side // 2)
        if self.stride > self.side:
            raise MedoodError(f"occlusion: a stride of {self.stride} pixels leaves gaps between squares of {self.side}.")
        self.surroundings = GaussianFilter(2, _SPREAD * self.side, truncated=2 / _SPREAD)
        for parameter in self.surroundings.parameters():
            parameter.requires_grad_(False)
        self.rows, self.columns = self._covered(spec.height), self._covered(spec.width)

    @property
    def members(self) -> Any:
        """Those of the detector, if it is made of others."""
        return self.detector.members

    @property
    def squares(self) -> int:
        return len(self.rows) * len(self.columns)

    def phases(self) -> Sequence[Phase]:
        return self.detector.phases()

    def forecast(self, images: int) -> str:
        cost = f"Maps by occlusion: every image is scored up to {self.squares + 1} times, with squares of {self.side} pixels hidden."
        return f"{self.detector.forecast(images)} {cost}".strip()

    def cost_of_scoring(self) -> str:
        return self.forecast(0)

    def _score(self, image: Tensor) -> Scores:
        own = self.detector._score(image)
        falls = own.image.new_zeros((len(image), self.squares))
        body = self.foreground(image)
        with nothing_kept(self):
            for owners, numbers in self._visits(body):
                hidden = self._hidden(numbers) & body[owners]
                with changed_copies_of(image[owners]):  # a held-out image is compared with others whether or not something is hidden
                    scores = self.detector._score(self._without(image[owners], hidden, body[owners])).image
                falls[owners, numbers] = own.image[owners] - scores
        return Scores(own.image, self._spread(falls), own.patches, own.parts)

    def _visits(self, body: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Which image and which square to score next, (n,) each: all squares with some body (B, 1, H, W) in them."""
        rows, columns = self.rows.to(body.device), self.columns.to(body.device)
        pixels = torch.einsum("rh,bhw,cw->brc", rows, body[:, 0].to(rows), columns).flatten(1)
        for pairs in (pixels > 0).nonzero().split(self.at_once):
            yield pairs[:, 0], pairs[:, 1]

    def _hidden(self, numbers: Tensor) -> Tensor:
        """bool (n, 1, H, W) of squares (n,)."""
        rows, columns = self.rows.to(numbers.device), self.columns.to(numbers.device)
        return (rows[numbers // len(columns)][:, :, None] * columns[numbers % len(columns)][:, None] > 0)[:, None]

    def _without(self, image: Tensor, hidden: Tensor, body: Tensor) -> Tensor:
        """Images (n, C, H, W) with what is hidden replaced by a weighted mean of the body around it, by the image's where there is none."""
        kept = (body & ~hidden).to(image)
        weights = self.surroundings(kept)
        around = self.surroundings(image * kept) / weights.clamp(min=1e-6)
        whole = (image * kept).sum((2, 3), keepdim=True) / kept.sum((2, 3), keepdim=True).clamp(min=1)
        fill = torch.where(weights > 1e-3, around, torch.where(kept.any(2, keepdim=True).any(3, keepdim=True), whole, self.spec.low))
        return torch.where(hidden, fill.clamp(self.spec.low, self.spec.high), image)

    def _spread(self, falls: Tensor) -> Tensor:
        """(B, 1, H, W) from (B, squares): at each pixel the mean over the squares that cover it."""
        rows, columns = self.rows.to(falls), self.columns.to(falls)
        total = torch.einsum("rh,brc,cw->bhw", rows, falls.unflatten(1, (len(rows), len(columns))), columns)
        return (total / (rows.sum(0)[:, None] * columns.sum(0)))[:, None]

    def _covered(self, length: int) -> Tensor:
        """float32 (squares, length): 1 where each square lies along one side of the image; the last one ends with it."""
        starts = [*range(0, length - self.side, self.stride), length - self.side]
        places = torch.arange(length)
        return torch.stack([((places >= start) & (places < start + self.side)).float() for start in starts])
