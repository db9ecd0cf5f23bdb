"""What Patch-GAN hides of an image, what it shows instead, and how several passes make one reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

PIXELS_AT_ONCE = 8 * 256 * 256
"""In one call of a network when scoring; bounds the memory."""

Fill = Literal["black", "mean", "outside"]


class Passes(nn.Module):
    """Reconstructions of an image from several passes that hide different parts of it, added up.

    masks    bool (K, 1, h, w): what each pass hides
    shares   (K, 1, h, w): what each pass counts for at each pixel
    margin   pixels that the shown image is mirrored beyond its border. Training hides little at the border; without the margin, holes
             there are filled in several times worse than elsewhere. What is hidden stays hidden in the mirror
    """

    masks: Tensor
    shares: Tensor

    def __init__(self, masks: Tensor, shares: Tensor, fill: Fill, context: bool, margin: int) -> None:
        super().__init__()
        self.fill, self.context, self.margin = fill, context, margin
        self.register_buffer("masks", masks, persistent=False)
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C, h, w)."""
        at_once = max(1, PIXELS_AT_ONCE // images[0, 0].numel())
        filled = []
        for image in images.split(max(1, at_once // len(self.masks))):
            total = torch.zeros_like(image)
            for hidden, share in zip(self.masks.split(at_once), self.shares.split(at_once), strict=True):
                shown = show(image[:, None], hidden, self.fill, self.context)
                passes = self._inside(network(pad(shown.flatten(0, 1), (self.margin,) * 4, mode="reflect")))
                total += (passes.unflatten(0, shown.shape[:2]) * share).sum(1)
            filled.append(total)
        return torch.cat(filled)

    def _inside(self, image: Tensor) -> Tensor:
        return image[..., self.margin : image.shape[-2] - self.margin, self.margin : image.shape[-1] - self.margin]


def show(image: Tensor, hidden: Tensor, fill: Fill, context: bool) -> Tensor:
    """(..., C, h, w) and bool (..., 1, h, w) to what the reconstructor is shown; with `context`, the mask is one more channel."""
    if fill == "mean":
        visible = ~hidden
        value = (image * visible).sum((-2, -1), keepdim=True) / visible.sum((-2, -1), keepdim=True).clamp(min=1)
    else:
        value = torch.full((), 0.0 if fill == "black" else -1.0, device=image.device)
    shown = torch.where(hidden, value, image)
    if not context:
        return shown
    mark = hidden.to(shown.dtype).expand(*shown.shape[:-3], 1, *shown.shape[-2:])
    return torch.cat([shown, mark], -3)


def scoring_masks(how: str, size: tuple[int, int], passes: int, shifts: int, seed: int) -> tuple[Tensor, Tensor]:
    """Masks and shares of "complementary", "random" or "none"; cells are an eighth of the shorter side.

    At the rim of a hole a network goes on with what it sees beside it, a lesion too. With several `shifts` each pixel is hidden once by
    every position of the grid, and counts by how far it lies from the rim of its hole: so that no place is always at a rim.
    """
    cell = min(size) // 8
    if how == "complementary":
        steps = [cell * number // shifts for number in range(shifts)]
        grids = [(down, across) for down in steps for across in steps]
        hidden = [complementary_masks(size, cell, passes, offset) for offset in grids]
        shares = torch.cat([holes * _depth(size, cell, offset) for holes, offset in zip(hidden, grids, strict=True)])
        return torch.cat(hidden), shares / shares.sum(0)
    masks = random_masks(size, cell, passes, seed) if how == "random" else torch.zeros((1, 1, *size), dtype=torch.bool)
    return masks, torch.full((len(masks), 1, 1, 1), 1 / len(masks))


def complementary_masks(size: tuple[int, int], cell: int, passes: int, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """bool (passes, 1, *size): cells of a grid, every sqrt(passes)-th in each direction; each pixel is hidden exactly once.

    The grid starts `offset` pixels before the image, down and across. Passes that would hide nothing are left out.
    """
    apart = isqrt(passes)
    rows, columns = ((torch.arange(length) + before) // cell % apart for length, before in zip(size, offset, strict=True))
    masks = rows[:, None] * apart + columns == torch.arange(passes)[:, None, None]
    return masks[masks.any(2).any(1)][:, None]


def _depth(size: tuple[int, int], cell: int, offset: tuple[int, int]) -> Tensor:
    """(*size): how far each pixel lies from the rim of its cell, down times across: almost 1 in the middle, almost 0 at the rim."""
    places = ((torch.arange(length) + before) % cell + 0.5 for length, before in zip(size, offset, strict=True))
    down, across = (1 - (2 * place / cell - 1).abs() for place in places)
    return down[:, None] * across


def random_masks(size: tuple[int, int], cell: int, passes: int, seed: int) -> Tensor:
    """bool (passes, 1, *size): in each pass a random 16th of the cells, the same for the same seed."""
    down, across = (length // cell for length in size)
    order = torch.rand((passes, down * across), generator=torch.Generator().manual_seed(seed)).argsort(1)
    cells = (order < max(1, down * across // 16)).view(passes, 1, down, across)
    return cells.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
