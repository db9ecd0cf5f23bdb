"""What a detector is: a network with named training phases and a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medood.core.errors import MedoodError, NotFitted

Result = TypeVar("Result")
Update = Callable[[Tensor, str], None]
"""`update(loss, name)` steps the optimizer called `name`: zero gradients, backward, clip, step. The trainer provides it."""


@dataclass(frozen=True)
class ImageSpec:
    """What a pipeline promises about every image it delivers.

    `low`..`high` is the value range; `background` is the exact value of pixels outside the body, or None when there are no such pixels.
    """

    channels: int
    height: int
    width: int
    low: float = 0.0
    high: float = 1.0
    background: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width


@dataclass
class Batch:
    """Images for one training step. Normal images only.

    image    float32 (B, C, H, W) in the range of the spec
    hidden   bool (B, 1, H, W), True where an `augment` step of the recipe hid the image from the network; None without such a step
    inputs   (B, ...), what `inputs` of the phase said of each image before the phase began; None for a phase without
    """

    image: Tensor
    hidden: Tensor | None = None
    inputs: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """In memory from which a GPU copies while it computes."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(*(None if tensor is None else change(tensor) for tensor in (self.image, self.hidden, self.inputs)))


@dataclass
class Scores:
    """Scores of B images; higher is more anomalous, each from its own image alone.

    image    float32 (B,)
    map      float32 (B, 1, H, W), or None if the method has no localisation
    patches  float32 (B, 1, h, w) on a coarse grid, or None
    parts    components by name, (B,) each, written beside the score; a part is an alternative score or a summand
    """

    image: Tensor
    map: Tensor | None = None
    patches: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Phase:
    """One named pass over the training images towards one goal; subclass it inside the detector's file.

    The trainer calls `begin`, then `step` for every batch of every epoch, then `finish`. A phase with optimizers learns: in train mode, on
    augmented images, ending with the weights of its best epoch. A closed-form method is a phase of one epoch without optimizers that
    collects in `step` and solves in `finish`: in eval mode, without gradients, in float32, on images as scoring sees them. `begin` and
    `finish` of every phase run without gradients.

    Only parameters, buffers and the state of optimizers survive a restart between epochs: keep what must last in a buffer.
    """

    name: str = "train"
    epochs: int = 1
    optimizers: Mapping[str, Optimizer] = {}

    def begin(self) -> None:
        """Freeze parts, compute what the phase needs from earlier phases, forget what an interrupted pass collected.

        Called again when training resumes inside the phase, with the weights of its last whole epoch; whatever this call puts into
        parameters and buffers is then replaced by what they held.
        """

    def inputs(self, batch: Batch) -> Tensor:
        """(B, ...) float32: overwritten by a phase that trains on something that is to be computed once per image, not in every epoch.

        Called after `begin`, for training and held-out images, in eval mode, without gradients, on images as scoring sees them; every
        batch of the phase then brings its rows, and its images are not augmented. It must not depend on what this phase changes. Frozen
        features need none of this: they are kept by themselves.
        """
        raise NotImplementedError

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Learn from one batch; returns detached scalars by name for the history."""
        raise NotImplementedError

    def finish(self) -> None:
        """Solve a closed form, freeze."""

    def validate(self, batch: Batch) -> Tensor | None:
        """(B,) losses on held-out normal images, lower is better; None when the phase has no such loss and its last epoch counts."""
        return None


class Detector(nn.Module):
    """A method of anomaly detection.

    Subclasses take `(spec, *, literal hyperparameters with defaults)`, or `(spec, features, *, ...)` where they work on features (see
    medood/features/interface.py), raise MedoodError when they cannot take the spec's size, channels or range, and keep
    learned-but-not-trained values in buffers whose names end in `_`.
    """

    fitted_: Tensor

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.spec = spec
        self._sized_by_fitting: tuple[str, ...] = ()
        self.register_buffer("fitted_", torch.zeros((), dtype=torch.bool))

    def fitted_later(self, *names: str) -> None:
        """Add float32 buffers whose sizes only fitting knows: empty until then, and as large as what is loaded into them."""
        for name in names:
            self.register_buffer(name, torch.empty(0))
        self._sized_by_fitting += names

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in self._sized_by_fitting:
            if prefix + name in state_dict:
                setattr(self, name, getattr(self, name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def phases(self) -> Sequence[Phase]:
        """Training phases in order, with fresh optimizers."""
        raise NotImplementedError

    def forecast(self, images: int) -> str:
        """A sentence on the memory that training on so many images will take, where that grows with them; said before it starts."""
        return ""

    def score(self, image: Tensor) -> Scores:
        """Score (B, C, H, W) images in the range of the spec: in eval mode, without gradients, each image by itself.

        Raises NotFitted before training, MedoodError when the shape is not the spec's. Leaves the detector as it was.
        """
        return self._at_rest(self._score, image)

    def reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        """What the method makes of (B, C, H, W) images, to look at: (B, C, H, W) each, by the titles of a figure and in its order.

        The last one, x', is the finished reconstruction. Values lie in the range of the spec: what a network without a last activation
        puts outside is cut off. Empty for a method that does not reconstruct. Otherwise as `score`.
        """
        made = self._at_rest(self._reconstructions, image)
        return {title: value.clamp(self.spec.low, self.spec.high) for title, value in made.items()}

    def _at_rest(self, method: Callable[[Tensor], Result], image: Tensor) -> Result:
        """What `method` says of images that it can take, in eval mode and without gradients."""
        if not bool(self.fitted_):
            raise NotFitted(f"{type(self).__name__} has not been trained yet: train it, or load it from a run folder.")
        if tuple(image.shape[1:]) != self.spec.shape:
            found, wanted = tuple(image.shape[1:]), self.spec.shape
            raise MedoodError(f"{type(self).__name__} takes images of (channels, height, width) {wanted}, found {found}.")
        with self.at_rest():
            return method(image)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """In eval mode and without gradients inside the block; afterwards every module is in the mode that it was in."""
        modes = {module: module.training for module in self.modules()}  # parts may be frozen in eval mode by themselves
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def _score(self, image: Tensor) -> Scores:
        """The method's own score; called in eval mode without gradients (enable them locally where the score needs them)."""
        raise NotImplementedError

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        """The method's own reconstructions, if it makes any; called as `_score` is."""
        return {}

    def foreground(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) bool: True inside the body, from the spec's background value; all True when there is none."""
        if self.spec.background is None:
            return torch.ones_like(image[:, :1], dtype=torch.bool)
        return (image != self.spec.background).any(1, keepdim=True)
