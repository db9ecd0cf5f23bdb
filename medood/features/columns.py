"""The numbers of a table, as they are."""

from __future__ import annotations

from torch import Tensor

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.features.interface import Extractor


class Columns(Extractor):
    """The columns of a table of numbers, for the source `numbers`; nothing is computed and nothing rounded."""

    def __init__(self, spec: ImageSpec) -> None:
        if (spec.height, spec.width) != (1, 1):
            raise MedoodError("features: `columns` are those of a table, of the source `numbers`; images need other features.")
        super().__init__(spec, ("columns",), (1, 1))
        self.settle({})

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image.detach().float()]
