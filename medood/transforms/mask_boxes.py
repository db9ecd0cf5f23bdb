"""Random boxes to hide."""

from __future__ import annotations

import numpy as np

from medood.core.errors import MedoodError
from medood.core.types import PositiveInt
from medood.transforms.hidden_parts import HidesParts


class MaskBoxes(HidesParts):
    """Hides random boxes: about 7 % of an image, in holes of up to 15 % of its side.

    A uniform number of boxes with uniform, independent heights and widths; the corner lies at least `margin` from the border, and a box
    that would leave the image extends from its corner the other way. Boxes may overlap. These are the masks of the first author of
    Patch-GAN (Chen et al., AAAI 2025); the paper itself gives no numbers.

    count   fewest and most boxes
    side    shortest and longest side, in pixels of an image of 224; scaled with the height and the width of the image
    margin  in pixels of an image of 224
    tile    draw for every tile of this side by itself (32 for detectors that work on crops of 32); None: the whole image
    """

    def __init__(
        self,
        *,
        count: tuple[PositiveInt, PositiveInt] = (5, 14),
        side: tuple[PositiveInt, PositiveInt] = (5, 34),
        margin: PositiveInt = 10,
        tile: PositiveInt | None = None,
    ) -> None:
        super().__init__(tile)
        if not (1 <= count[0] <= count[1] and 1 <= side[0] <= side[1] and 1 <= margin <= 112 - side[1]):
            raise MedoodError(
                "MaskBoxes: `count` and `side` are [least, most], all numbers are at least 1, and the longest side and the margin together "
                f"at most 112 of 224 pixels; found count {list(count)}, side {list(side)}, margin {margin}."
            )
        self.count, self.side, self.margin = count, side, margin

    def draw(self, count: int, height: int, width: int) -> np.ndarray:
        boxes = self.R.randint(self.count[0], self.count[1] + 1, count)
        owners = np.repeat(np.arange(count), boxes).tolist()
        tops, bottoms = self._spans(len(owners), height)
        lefts, rights = self._spans(len(owners), width)
        masks = np.zeros((count, height, width), bool)
        for owner, top, bottom, left, right in zip(owners, tops, bottoms, lefts, rights, strict=True):
            masks[owner, top:bottom, left:right] = True
        return masks

    def _spans(self, count: int, length: int) -> tuple[list[int], list[int]]:
        """First rows (or columns) of `count` boxes, and the rows after their last."""
        shortest, longest, margin = (max(1, round(value * length / 224)) for value in (*self.side, self.margin))
        sides = self.R.randint(shortest, longest + 1, count)
        corners = self.R.randint(margin, length - margin, count)
        first = np.where(corners + sides > length, corners - sides, corners)
        return first.tolist(), (first + sides).tolist()
