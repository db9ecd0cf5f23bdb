"""Classifiers in files of torch.export.save; graph.py says how these are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from medood.features.classifiers.graph import Graph, name_of

_PRODUCTS = {"linear": 0, "addmm": 1, "mm": 0, "matmul": 0}
"""What multiplies with a matrix, and which of its arguments the features are."""


class Program(Graph):
    """A classifier in a file of torch.export.save: images (n, C, H, W) to logits (n, classes), and to the features (n, d) before its last
    linear layer, or the logits where there is none. Gradients reach the images.

    shape    (C, H, W) that it takes; None for a side that it leaves open
    batch    how many images it takes at a time; None: any number
    """

    gradients = True

    def __init__(self, path: Path) -> None:
        super().__init__(path, "The classifier")
        self.batch, *self.shape = self.sizes

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        values = self.run(image)
        logits = values[self.output]
        return logits, values[self.last].flatten(1) if self.last else logits

    def _take(self, graph: Mapping[str, Any], images: list[str], outputs: list[Mapping[str, Any]]) -> None:
        if len(images) != 1 or len(outputs) != 1 or "as_tensor" not in outputs[0]:
            raise self.refused(f"it takes {len(images)} inputs and gives {len(outputs)} outputs, expected images and logits alone")
        super()._take(graph, images, outputs)
        (self.output,) = self.outputs
        products = [node for node in self.nodes if name_of(node) in _PRODUCTS]
        self.last = _features(products[-1]) if products else None


def _features(product: Mapping[str, Any]) -> str | None:
    tensor = product["inputs"][_PRODUCTS[name_of(product)]]["arg"].get("as_tensor")
    return tensor["name"] if tensor else None
