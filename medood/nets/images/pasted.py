"""Anomalies pasted into normal images, to learn from or to try a detector with where no real ones may be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from medood.nets.images.poisson import blended

Kind = Literal["cutpaste", "fpi", "poisson", "blobs"]
KINDS: tuple[Kind, ...] = ("cutpaste", "fpi", "poisson", "blobs")

_VISIBLE, _STRONG = 0.02, 0.15  # changes, as shares of the range, that are seen at all, and that are marked with 1
_SMALLEST = 4  # pixels


@dataclass(frozen=True)
class Pasted:
    """image (B, C, H, W); target (B, 1, H, W) in 0..1: how much the surroundings of a pixel changed, above 0 exactly where it changed."""

    image: Tensor
    target: Tensor


@dataclass(frozen=True)
class Paste:
    """How anomalies are pasted.

    kinds   drawn with equal chances
            "cutpaste"  a part of the same image at another place (Li et al., CVPR 2021), brighter or darker by up to a tenth of the range
            "fpi"       the same place of another image, mixed in with a weight of 0.2 to 1 (Foreign Patch Interpolation, Tan et al., 2020)
            "poisson"   the same place of another image without a seam: its gradients, weighted with 0.5 to 1, where they are steeper than
                        the image's own (Poisson Image Interpolation, Tan et al., MICCAI 2021)
            "blobs"     bright, dark, or of another texture, with a soft edge; changed by 0.1 to 0.5 of the range
    most    1 to so many in an image
    sides   shortest and longest side, as shares of the square root of the body's area
    share   of the images that get any
    low, high   the range of the images
    """

    kinds: Sequence[Kind] = KINDS
    most: int = 3
    sides: tuple[float, float] = (0.05, 0.4)
    share: float = 0.8
    low: float = 0.0
    high: float = 1.0

    def __call__(self, image: Tensor, inside: Tensor, random: torch.Generator) -> Pasted:
        """Anomalies in images (B, C, H, W), inside their bodies (bool (B, 1, H, W)) alone; `random`, on the CPU, decides everything.

        No pixel leaves the range, or gets darker than the body's darkest. Another image is one of the same batch; where there is only
        one, it is that one mirrored.
        """
        others = (image.roll(1, 0), inside.roll(1, 0)) if len(image) > 1 else (image.flip(3), inside.flip(3))
        made = [self._one(*row, random) for row in zip(image, inside, *others, strict=True)]
        return self._marked(image, inside, torch.stack(made))

    def _marked(self, image: Tensor, inside: Tensor, made: Tensor) -> Pasted:
        """What can be seen of a change, and where it is."""
        span = self.high - self.low
        darkest = torch.where(inside, image, self.high).amin((1, 2, 3), keepdim=True)
        change = (made.clamp(max=self.high).maximum(darkest) - image).abs().amax(1, keepdim=True)
        seen = inside & (change > _VISIBLE * span)
        near = avg_pool2d(change * seen, 5, 1, 2, count_include_pad=False)
        target = torch.where(seen, (near / (_STRONG * span)).clamp(1e-3, 1.0), 0.0)
        return Pasted(torch.where(seen, made.clamp(max=self.high).maximum(darkest), image), target)

    def _one(self, image: Tensor, inside: Tensor, other: Tensor, other_inside: Tensor, random: torch.Generator) -> Tensor:
        """One image (C, H, W) with anomalies, or as it was."""
        if _uniform(random) >= self.share or not bool(inside.any()):
            return image
        for _ in range(_below(self.most, random) + 1):
            kind = self.kinds[_below(len(self.kinds), random)]
            box = self._box(inside, random)
            if kind == "cutpaste":
                image = self._cut_and_pasted(image, inside, box, random)
            elif kind == "fpi":
                weight = _uniform(random, 0.2, 1.0) * _shape(box, image, random) * other_inside[0][box]
                image = _with(image, box, image[(..., *box)] + weight * (other - image)[(..., *box)])
            elif kind == "poisson":
                image = _with(image, box, blended(image, other, (inside & other_inside)[0], box, _uniform(random, 0.5, 1.0)))
            else:
                image = _with(image, box, image[(..., *box)] + self._blob(image, box, random))
        return image

    def _box(self, inside: Tensor, random: torch.Generator) -> tuple[slice, slice]:
        """A box around a random pixel of the body, cut off at the edges of the image."""
        size = float(inside.sum()) ** 0.5
        return _around(inside, [max(_SMALLEST, round(_uniform(random, *self.sides) * size)) for _ in range(2)], random)

    def _cut_and_pasted(self, image: Tensor, inside: Tensor, box: tuple[slice, slice], random: torch.Generator) -> Tensor:
        source = _around(inside, [edge.stop - edge.start for edge in box], random)
        height, width = (min(a.stop - a.start, b.stop - b.start) for a, b in zip(box, source, strict=True))
        box, source = (
            (slice(rows.start, rows.start + height), slice(columns.start, columns.start + width)) for rows, columns in (box, source)
        )
        cut = image[(..., *source)] + _uniform(random, -0.1, 0.1) * (self.high - self.low)
        weight = _shape(box, image, random) * inside[0][source]
        return _with(image, box, image[(..., *box)] + weight * (cut - image[(..., *box)]))

    def _blob(self, image: Tensor, box: tuple[slice, slice], random: torch.Generator) -> Tensor:
        """What is added: a level, or noise of some grain around none."""
        shape = _rounded(box, random).to(image)
        amount = _uniform(random, 0.1, 0.5) * (self.high - self.low)
        sort = _below(3, random)
        if sort < 2:
            return shape * (amount if sort else -amount)
        grain = 1 + _below(4, random)
        rough = _noise(box, [max(2, n // grain) for n in shape.shape], random).to(image)
        return shape * amount * rough


def _with(image: Tensor, box: tuple[slice, slice], part: Tensor) -> Tensor:
    changed = image.clone()
    changed[(..., *box)] = part
    return changed


def _around(inside: Tensor, sides: Sequence[int], random: torch.Generator) -> tuple[slice, slice]:
    """A box of those sides around a random pixel of a body (1, H, W), cut off at the edges of the image."""
    places = inside[0].flatten().nonzero()
    place = int(places[_below(len(places), random)])
    slices = []
    for middle, side, length in zip(divmod(place, inside.shape[2]), sides, inside.shape[1:], strict=True):
        first = min(max(0, middle - side // 2), max(0, length - _SMALLEST))
        slices.append(slice(first, min(length, max(first + _SMALLEST, middle - side // 2 + side))))
    return slices[0], slices[1]


def _shape(box: tuple[slice, ...], image: Tensor, random: torch.Generator) -> Tensor:
    """Weights (h, w) of the pixels of a box: all 1, or rounded, with equal chances."""
    if _uniform(random) < 0.5:
        return image.new_ones([edge.stop - edge.start for edge in box])
    return _rounded(box, random).to(image)


def _rounded(box: tuple[slice, ...], random: torch.Generator) -> Tensor:
    """Weights 0..1 (h, w): an ellipse with a wavy and more or less soft edge."""
    height, width = (edge.stop - edge.start for edge in box)
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    distance = (y.square() + x.square()).sqrt() * (1 + 0.25 * _noise(box, (4, 4), random))
    return ((1 - distance) / _uniform(random, 0.05, 0.6)).clamp(0, 1)


def _noise(box: tuple[slice, ...], grid: Sequence[int], random: torch.Generator) -> Tensor:
    """(h, w): Gaussian noise of a grid, stretched over a box."""
    size = [edge.stop - edge.start for edge in box]
    return interpolate(torch.randn((1, 1, *grid), generator=random), size, mode="bilinear", align_corners=True)[0, 0]


def _uniform(random: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def _below(count: int, random: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=random))
