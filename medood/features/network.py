"""Frozen networks: weights from a file or drawn at random, images as the network was trained on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medood.core.detector import ImageSpec
from medood.features.interface import Extractor, frozen
from medood.features.weights import Published, find_weights, load_into, read_weights, verify

RANDOM = "random"
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrozenNetwork(Extractor):
    """An extractor that is a network; `network(image, layers)` gives the grids of the layers.

    Subclasses say what makes the network, and how the weights files of others name what is in it.
    """

    mean: Tensor
    deviation: Tensor
    words: Mapping[str, Published] = {}
    normalise: tuple[tuple[float, float, float], tuple[float, float, float]] = _IMAGENET

    def __init__(
        self,
        spec: ImageSpec,
        *,
        weights: str,
        sha256: str | None,
        size: tuple[int, int],
        layers: Sequence[Any],
        seed: int,
    ) -> None:
        super().__init__(spec, layers, size)
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in self.normalise)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)
        with _own_randomness(seed):
            network = self.make()
            if weights == RANDOM:
                settle_batch_statistics(network, layers)
        if weights != RANDOM:
            path = find_weights(weights, self.words)
            known = self.words[weights].sha256 if weights in self.words else None
            self.sha256 = verify(path, sha256 or known)
            load_into(network, self.renamed(read_weights(path)), path, type(self).__name__)
        self.network = frozen(network)
        self.settle({"random": seed if weights == RANDOM else None})

    @staticmethod
    def make() -> nn.Module:
        """The network with random weights."""
        raise NotImplementedError

    def renamed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a file under the network's own names, whatever prefix they have in common."""
        return tensors

    def _extract(self, unit: Tensor) -> list[Tensor]:
        return self.network((unit.expand(-1, 3, -1, -1) - self.mean) / self.deviation, self.layers)


def settle_batch_statistics(network: nn.Module, layers: Sequence[Any]) -> None:
    """Give the batch norms of a network with random weights the statistics of smooth noise, so that no layer dies away or explodes."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over everything that passes
    noise = sum(interpolate(torch.randn(16, 3, side, side), (96, 96), mode="bicubic") for side in (3, 6, 12, 24, 48)) / 5**0.5
    network.train()
    with torch.no_grad():
        if norms:
            network(noise, layers)


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Random numbers from `seed`, those of others untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
