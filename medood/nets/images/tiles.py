"""Images cut into square tiles, and maps put together again."""

from __future__ import annotations

from torch import Tensor


def cut(image: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to (B * n, C, side, side): the n tiles of an image row by row, image after image. `side` divides H and W."""
    tiles = image.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # B, C, down, side, across, side
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def join(tiles: Tensor, down: int, across: int) -> Tensor:
    """The inverse of `cut`: (B * down * across, C, h, w) to (B, C, down * h, across * w)."""
    grid = tiles.unflatten(0, (-1, down, across))  # B, down, across, C, h, w
    return grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
