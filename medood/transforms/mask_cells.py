"""Random cells of a grid to hide."""

from __future__ import annotations

import numpy as np

from medood.core.errors import MedoodError
from medood.core.types import PositiveInt
from medood.transforms.hidden_parts import HidesParts


class MaskCells(HidesParts):
    """Hides random cells of a grid, 4 of 8 x 8 unless told otherwise.

    The holes are those that complementary masks make when scoring (Zavrtanik et al., Pattern Recognition 2021, for the idea).

    count  cells hidden of every grid x grid cells; a longer image has more cells and more of them hidden
    grid   cells along the shorter side
    tile   draw for every tile of this side by itself (32 for detectors that work on crops of 32); None: the whole image
    """

    def __init__(self, *, count: PositiveInt = 4, grid: PositiveInt = 8, tile: PositiveInt | None = None) -> None:
        super().__init__(tile)
        if not (grid >= 1 and 1 <= count <= grid**2):
            raise MedoodError(
                f"MaskCells: `grid` is at least 1 and `count` from 1 to the number of cells, grid x grid; found count {count}, grid {grid}."
            )
        self.count, self.grid = count, grid

    def draw(self, count: int, height: int, width: int) -> np.ndarray:
        side = min(height, width) // self.grid
        if side == 0 or height % side or width % side:
            raise MedoodError(f"MaskCells: a grid of {self.grid} does not divide {height} x {width} pixels: choose one that does.")
        down, across = height // side, width // side
        hidden = min(round(self.count * down * across / self.grid**2), down * across)
        order = self.R.random_sample((count, down * across)).argsort(1)
        return (order < hidden).reshape(count, down, across).repeat(side, 1).repeat(side, 2)
