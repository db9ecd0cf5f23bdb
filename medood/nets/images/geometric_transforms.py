"""Flips, shifts and quarter turns of images, chosen by number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

Border = Literal["symmetric", "reflect"]
"""What comes in behind a shifted image: its mirror image with the edge pixels repeated (half-sample symmetric, which SciPy calls "reflect"
and torch does not have), or without (whole-sample symmetric, torch's "reflect")."""

QUARTER = 4
"""A shift is by a side divided by this."""


class GeometricTransforms(nn.Module):
    """All combinations of a left-right flip, a shift of rows, a shift of columns and quarter turns, in this order of application.

    flips   whether images are flipped
    shifts  whether they are shifted, by 0 or a quarter of the side to either direction, along rows and along columns
    turns   whether they are turned, by 0 to 3 times 90 degrees counter-clockwise; needs squares
    border  what comes in behind a shifted image

    The turn changes fastest with the number of a transform, then the shift of columns, the shift of rows and the flip; number 0 is the
    identity. A transform costs one look-up a pixel: their results are never held together.
    """

    places: Tensor  # int32 (T, H * W), the pixel of the image that each pixel of the result is

    def __init__(
        self, height: int, width: int, *, flips: bool = True, shifts: bool = True, turns: bool = True, border: Border = "symmetric"
    ) -> None:
        super().__init__()
        moves = range(3 if shifts else 1)
        self.numbers = list(product(range(2 if flips else 1), moves, moves, range(4 if turns else 1)))
        grids = [_places(height, width, number, border) for number in self.numbers]
        self.register_buffer("places", torch.stack(grids).flatten(1).int(), persistent=False)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def labels(self) -> Tensor:
        """int64 (T, 4): for each transform whether it flips (0, 1), its shifts of rows and of columns (0 none, 1 minus, 2 plus a quarter)
        and its turns (0 to 3)."""
        return torch.tensor(self.numbers, device=self.places.device)

    def draw(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """int64 (count,): numbers of transforms, each with equal chances, from torch's own generator or from `random`."""
        return torch.randint(len(self), (count,), generator=random).to(self.places.device)

    def forward(self, image: Tensor, number: Tensor | int) -> Tensor:
        """(B, C, H, W): every image under the transform of its `number` (B,), or all under the same one."""
        if isinstance(number, int):
            return image.flatten(2)[:, :, self.places[number]].view_as(image)
        places = self.places[number].long()[:, None].expand(-1, image.shape[1], -1)
        return image.flatten(2).gather(2, places).view_as(image)

    def back(self, values: Tensor, number: int) -> Tensor:
        """(B, C, H, W) of values at the pixels of images under one transform: each is added to the pixel of the image that was seen there.

        So sums stay as they are. What was shifted out of sight gets 0, and what was seen twice, in the mirror too, gets both. Over all
        transforms each pixel is seen equally often with the symmetric border, and nearly so with the other.
        """
        return torch.zeros_like(values.flatten(2)).index_add_(2, self.places[number].long(), values.flatten(2)).view_as(values)


def _places(height: int, width: int, number: tuple[int, int, int, int], border: Border) -> Tensor:
    """int64 (H, W): pixels of the image by their number, row by row, under one transform."""
    (flip, row, column, turns), steps = number, (0, -1, 1)
    rows = _mirrored(torch.arange(height) + steps[row] * shift_of(height), height, border)
    columns = _mirrored(torch.arange(width) + steps[column] * shift_of(width), width, border)
    columns = width - 1 - columns if flip else columns
    return torch.rot90(rows[:, None] * width + columns, turns)


def shift_of(side: int) -> int:
    """Pixels of a shift, a quarter of the side."""
    return round(side / QUARTER)


def _mirrored(places: Tensor, side: int, border: Border) -> Tensor:
    """Places beside an axis of `side` pixels, by the places in it that are seen there in a mirror at its end."""
    repeated = int(border == "symmetric")
    period = 2 * (side - 1 + repeated)
    around = places % period
    return torch.minimum(around, period - around - repeated)


def all_of(transforms: GeometricTransforms, image: Tensor) -> Tensor:
    """(B * T, C, H, W): the images under all transforms, those of the first image first. For a few images only."""
    numbers = torch.arange(len(transforms), device=image.device).repeat(len(image))
    return transforms(image.repeat_interleave(len(transforms), 0), numbers)


def names_of(transforms: GeometricTransforms) -> Sequence[str]:
    """For each transform a few words."""
    words = (("", "flipped"), ("", "down", "up"), ("", "right", "left"), ("", "turned 90", "turned 180", "turned 270"))
    chosen = ([options[n] for options, n in zip(words, number, strict=True)] for number in transforms.numbers)
    return [", ".join(word for word in each if word) or "as it is" for each in chosen]
