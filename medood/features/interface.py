"""What features are: a frozen function from images to grids of numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medood.core.detector import ImageSpec
from medood.core.device import exact_arithmetic
from medood.core.errors import MedoodError
from medood.core.files.shelves import use
from medood.core.running.one_thread_each import one_thread_each
from medood.core.tracing import is_written_down
from medood.features.store import FeatureStore

_LARGEST = 65504.0
"""The largest number of half precision."""


class Extractor(nn.Module):
    """Turns images into grids of features, one for every layer named. Nothing in it is ever trained.

    Subclasses take `(spec, *, literal parameters with defaults)` and write `_extract`. Everything they hold is a buffer that no state dict
    knows (see `frozen`), so that weights of a detector are its own alone; it stays in eval mode, whatever the detector does.

    size         (height, width) to which images are resized first
    shapes       (channels, height, width) of every layer
    sha256       checksum of the weights file, or None without one
    fingerprint  changes with everything that the features of an image depend on besides the image and the choice of layers
    occludable   whether squares can be hidden to see what a score rests on; not where a smooth square is odd by itself
    store        where features are kept from one call to the next, if anywhere
    last         the images of the last call and their features, inside `each_batch_once`; None outside
    """

    sha256: str | None = None
    occludable: bool = True
    last: list[Any] | None = None

    def __init__(self, spec: ImageSpec, layers: Sequence[Any], size: tuple[int, int]) -> None:
        super().__init__()
        if not layers or len(set(layers)) < len(layers):
            raise MedoodError(f"features: `layers` must name at least one layer and none twice, found {list(layers)}.")
        self.spec, self.layers, self.size = spec, tuple(layers), size
        self.store: FeatureStore | None = None

    def settle(self, facts: Mapping[str, Any]) -> None:
        """Call it at the end of construction. `facts` are the parameters, besides `layers`, that features depend on."""
        self.eval()
        spec = [*self.spec.shape, self.spec.low, self.spec.high]
        described = {"name": type(self).__name__, "spec": spec, "size": self.size, "sha256": self.sha256, **facts}
        self.fingerprint = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
        self.shapes = tuple(tuple(grid.shape[1:]) for grid in self(torch.full((1, *self.spec.shape), self.spec.low)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, c, h, w) for every layer, of images (B, C, H, W) in the range of the spec; each image by itself.

        float32, but rounded to half precision, so that what is kept on disk is what is computed, in half the space.
        """
        if self.last and self.last[0] is image:
            return self.last[1]
        grids = self.afresh(image) if self.store is None else self.store.features(image, self._named_shapes(), self.afresh)
        if self.last is not None:
            self.last = [image, grids]
        return grids

    def afresh(self, image: Tensor) -> list[Tensor]:
        """The same, neither looked up nor kept: for what a detector made, which nobody will ask for again."""
        with torch.no_grad(), exact_arithmetic(image.device):
            return self._compute(image)

    def means(self, image: Tensor) -> Tensor:
        """(B, all channels): the mean over all places of every layer, of images (B, C, H, W)."""
        return torch.cat([grid.mean((2, 3)) for grid in self(image)], 1)

    def part(self, layers: Sequence[Any]) -> Extractor:
        """The same network for somebody who wants some of its layers, in an order of their own."""
        return self if tuple(layers) == self.layers else _Part(self, layers)

    def _named_shapes(self) -> dict[Any, tuple[int, int, int]]:
        return dict(zip(self.layers, self.shapes, strict=True))

    def train(self, mode: bool = True) -> Extractor:
        """Does nothing: the mode is always eval."""
        return super().train(False)

    def _compute(self, image: Tensor) -> list[Tensor]:
        """On a CPU each image by itself and with one thread: so its features are the same to the last bit in any batch and anywhere."""
        if image.device.type != "cpu" or is_written_down():
            return self._compute_together(image)
        return [torch.cat(grids) for grids in zip(*one_thread_each(self._compute_together, image.split(1)), strict=True)]

    def _compute_together(self, image: Tensor) -> list[Tensor]:
        unit = (image.float() - self.spec.low) / (self.spec.high - self.spec.low)
        if unit.shape[2:] != self.size:
            unit = interpolate(unit, self.size, mode="bilinear", antialias=True)
        return [grid.clamp(-_LARGEST, _LARGEST).half().float() for grid in self._extract(unit)]

    def _extract(self, unit: Tensor) -> list[Tensor]:
        """Grids of every layer, of images (B, C, *size) with values 0..1."""
        raise NotImplementedError


class _Part(Extractor):
    """Some layers of another extractor, which computes and keeps them."""

    def __init__(self, whole: Extractor, layers: Sequence[Any]) -> None:
        super().__init__(whole.spec, layers, whole.size)
        self.whole, self.places = whole, [whole.layers.index(layer) for layer in layers]
        self.sha256, self.fingerprint = whole.sha256, whole.fingerprint
        self.shapes = tuple(whole.shapes[place] for place in self.places)
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        return self._of(self.whole(image))

    def afresh(self, image: Tensor) -> list[Tensor]:
        return self._of(self.whole.afresh(image))

    def _of(self, grids: list[Tensor]) -> list[Tensor]:
        return [grids[place] for place in self.places]


@contextmanager
def each_batch_once(network: nn.Module) -> Iterator[None]:
    """Inside the block every extractor in a network remembers its last batch, so that several who ask for it wait only once.

    Nobody may change images or features in place meanwhile. Blocks may be nested.
    """
    extractors = [part for part in network.modules() if isinstance(part, Extractor) and part.last is None]
    try:
        for part in extractors:
            part.last = []
        yield
    finally:
        for part in extractors:
            part.last = None


def extractor_in(network: nn.Module) -> Extractor | None:
    """The first extractor in a network, with all layers that anybody there wants of it; None where there is none."""
    return next((part for part in network.modules() if isinstance(part, Extractor) and not isinstance(part, _Part)), None)


@contextmanager
def nothing_kept(network: nn.Module) -> Iterator[None]:
    """Inside the block no extractor in a network keeps or looks up features: for images that nobody will ask for again."""
    stores = [(part, part.store) for part in network.modules() if isinstance(part, Extractor)]
    try:
        for part, _ in stores:
            part.store = None
        yield
    finally:
        for part, store in stores:
            part.store = store


def keep_features(network: nn.Module, folder: Path) -> None:
    """Let every extractor in a network keep its features below the folder, and look there first."""
    for part in network.modules():
        if isinstance(part, Extractor):
            part.store = FeatureStore(folder / part.fingerprint)
            use(part.store.folder, {"features": type(part).__name__})


def describer(network: nn.Module, device: torch.device) -> Callable[[np.ndarray], np.ndarray] | None:
    """What gives (n, d) `Extractor.means` of (n, C, H, W) images; None without an extractor in the network, which is on the device."""
    extractor = extractor_in(network)
    if extractor is None:
        return None

    def describe(images: np.ndarray) -> np.ndarray:
        return extractor.means(torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(device)).cpu().numpy()

    return describe


def fitting_size(spec: ImageSpec, size: tuple[int, int] | None, *, side: int, step: int = 1) -> tuple[int, int]:
    """`size`, or without one the images' proportions with `side` pixels along the shorter side; in multiples of `step`.

    Raises MedoodError when a size that was asked for is none.
    """
    if size is None:
        shorter = min(spec.height, spec.width)
        height, width = (max(step, round(length * side / shorter / step) * step) for length in (spec.height, spec.width))
        return height, width
    if any(length % step for length in size):
        near = [max(step, round(length / step) * step) for length in size]
        raise MedoodError(f"features: `size` must be in multiples of {step}, such as {near}, found {list(size)}.")
    return size


def frozen(network: nn.Module) -> nn.Module:
    """The network with parameters turned into buffers that no state dict has: nothing trains, saves or loads them."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=False)
        module._non_persistent_buffers_set.update(module._buffers)
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False  # else it asks every state dict that is loaded for a counter
    return network.eval()
