"""What a detector is: a network with named training phases and a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from medood.core.device import exact_convolutions
from medood.core.errors import MedoodError, NotFitted

if TYPE_CHECKING:
    from torch.utils.data import DataLoader, Dataset
    from typing_extensions import Self

Result = TypeVar("Result")
Update = Callable[[Tensor, str], None]
"""`update(loss, name)` steps the optimizer called `name`: zero gradients, backward, clip, step. The trainer provides it."""

Augment = Callable[[dict[str, Tensor], int], dict[str, Tensor]]
"""`augment(sample, seed)`: one sample {"image": (C, H, W)} to the sample with a changed image and perhaps "hidden" (1, H, W) bool.

It runs in a background thread: all that is random in it must come from `seed`, never from torch's global generator.
"""


def _real(images: Tensor | np.ndarray) -> bool:
    return images.dtype.kind in "buif" if isinstance(images, np.ndarray) else not images.is_complex()


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

    @property
    def of_a_table(self) -> bool:
        """Whether an image is a row of a table, whose channels are quantities of different kinds and units."""
        return (self.height, self.width) == (1, 1)

    def checked(self, images: Tensor | np.ndarray, who: str) -> Tensor:
        """Images (B, C, H, W) as a tensor of floating-point numbers.

        Raises MedoodError, a sentence about `who` takes what, unless they have this shape and range.
        """
        if not isinstance(images, (Tensor, np.ndarray)):
            raise MedoodError(f"{who} takes an array or a tensor (batch, channels, height, width), found {type(images).__name__}.")
        if not _real(images):
            raise MedoodError(f"{who} takes real numbers, found {images.dtype}.")
        found = torch.from_numpy(np.require(images, np.float32, ["C", "W"])) if isinstance(images, np.ndarray) else images
        if found.ndim != 4:
            raise MedoodError(f"{who} takes images (batch, channels, height, width), found the shape {tuple(found.shape)}.")
        if tuple(found.shape[1:]) != self.shape:
            raise MedoodError(f"{who} takes images of (channels, height, width) {self.shape}, found {tuple(found.shape[1:])}.")
        found = found if found.is_floating_point() else found.float()
        if len(found):
            low, high = (float(value) for value in found.aminmax())
            slack = 1e-3 * (self.high - self.low)
            if not (self.low - slack <= low and high <= self.high + slack):
                raise MedoodError(f"{who} takes values from {self.low:g} to {self.high:g}, found {low:g} to {high:g}: scale them first.")
        return found


@dataclass
class Batch:
    """Images for one training step. Normal images, but for those of `contrast`.

    image     float32 (B, C, H, W) in the range of the spec
    hidden    bool (B, 1, H, W), True where an `augment` step of the recipe hid the image from the network; None without such a step
    inputs    (B, ...), what `inputs` of the phase said of each image before the phase began; None for a phase without
    classes   int64 (B,), the class of each image as a number, in the order of their names; -1 without one; None where nobody named classes
    patient   int64 (B,), a number for each patient, for a phase on held-out images; None where nobody knows
    contrast  as many images of the recipe's `contrast`, which nobody labelled; None without one. If that is `product_of_marginals`, its
              `inputs` are those of this batch with every number drawn from another image, and its `image` is this batch's own
    share     which part of the batch this is, where several processes share it (medood/core/running/processes.py); else 1
    """

    image: Tensor
    hidden: Tensor | None = None
    inputs: Tensor | None = None
    classes: Tensor | None = None
    patient: Tensor | None = None
    contrast: Batch | None = None
    share: float = 1.0

    @property
    def whole(self) -> int:
        """How many images the batch has over all processes."""
        return round(len(self.image) / self.share)

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """In memory from which a GPU copies while it computes."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        known = self.hidden, self.inputs, self.classes, self.patient
        hidden, inputs, classes, patient = (None if tensor is None else change(tensor) for tensor in known)
        return Batch(change(self.image), hidden, inputs, classes, patient, self.contrast and self.contrast._each(change), self.share)


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


@dataclass(frozen=True)
class Epoch:
    """What an epoch of training came to: losses are means over it; validation is that on held-out normal images, or None."""

    phase: str
    number: int
    losses: Mapping[str, float]
    validation: float | None


class Phase:
    """One named pass over the training images towards one goal; subclass it inside the detector's file.

    The trainer calls `begin`, then `step` for every batch of every epoch, then `finish`. A phase with optimizers learns: in train mode, on
    augmented images, ending with the weights of its best epoch. A closed-form method is a phase of one epoch without optimizers that
    collects in `step` and solves in `finish`: in eval mode, without gradients, in float32, on images as scoring sees them. `begin` and
    `finish` of every phase run without gradients.

    Only parameters, buffers and the state of optimizers survive a restart between epochs: keep what must last in a buffer.

    held_out  for a closed form that learns how normal images score which nothing was trained on: at least how many held-out images it
              needs. It then runs on those and not on the training images
    classes   how many classes of images it learns to tell apart: the training images must show all of them, and no others
    """

    name: str = "train"
    epochs: int = 1
    optimizers: Mapping[str, Optimizer] = {}
    held_out: int = 0
    classes: int = 0

    def begin(self) -> None:
        """Freeze parts, compute what the phase needs from earlier phases, forget what an interrupted pass collected.

        Called again when training resumes inside the phase, with the weights of its last whole epoch; whatever this call puts into
        parameters and buffers is then replaced by what they held.
        """

    def inputs(self, batch: Batch) -> Tensor:
        """(B, ...) float32: overwritten by a phase that trains on something that is to be computed once per image, not in every epoch.

        Called after `begin`, for training and held-out images and those of the contrast, in eval mode, without gradients, on images as
        scoring sees them; every batch of the phase then brings its rows, and its images are not augmented. It must not depend on what this
        phase changes. Frozen features need none of this: they are kept by themselves.
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

    def update(self, loss: Tensor, name: str) -> None:
        """The plain `Update` for a loop of one's own: zero gradients, backward, step. The trainer's also clips and knows of precision.

        Gradients reach the parameters of the optimizer called `name` only.
        """
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"] if p.requires_grad])
        optimizer.step()


class Detector(nn.Module):
    """A method of anomaly detection.

    Subclasses take `(spec, *, literal hyperparameters with defaults)`, or `(spec, features, *, ...)` where they work on features (see
    medood/features/interface.py), raise MedoodError when they cannot take the spec's size, channels or range, and keep
    learned-but-not-trained values in buffers whose names end in `_`. What solves a closed form is called `solve`: `fit` is the whole
    training.
    """

    made_as: tuple[str, dict[str, Any]] | None = None
    """Name and parameters of a detector that `medood.detector` made, by which it can be made again."""

    fitted_: Tensor
    localises: bool = True
    """Whether scores come with a map; a subclass without one, or with one only under some of its parameters, says so."""
    learns_from_contrast: bool = False
    """Whether training needs batches with a `contrast`; a subclass that does says so."""
    can_round: bool = False
    """Whether scoring has `arithmetic` around its networks, so that they may compute in bfloat16; a subclass that does says so."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.spec = spec
        self._sized_by_fitting: tuple[str, ...] = ()
        self.rounds = False
        self.register_buffer("fitted_", torch.zeros((), dtype=torch.bool))

    def fitted_later(self, *names: str, dtype: torch.dtype = torch.float32) -> None:
        """Add buffers whose sizes only fitting knows: empty until then, and as large as what is loaded into them."""
        for name in names:
            self.register_buffer(name, torch.empty(0, dtype=dtype))
        self._sized_by_fitting += names

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in self._sized_by_fitting:
            if prefix + name in state_dict:
                setattr(self, name, getattr(self, name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def phases(self) -> Sequence[Phase]:
        """Training phases in order, with fresh optimizers."""
        raise NotImplementedError

    @final
    def fit(
        self,
        images: Tensor | np.ndarray | Dataset[Any] | DataLoader[Any] | Sequence[Tensor],
        held_out: Tensor | np.ndarray | Dataset[Any] | DataLoader[Any] | Sequence[Tensor] | None = None,
        *,
        seed: int = 0,
        augment: Augment | None = None,
        contrast: Tensor | np.ndarray | Dataset[Any] | DataLoader[Any] | Sequence[Tensor] | str | None = None,
        on_epoch: Callable[[Epoch], None] | None = None,
        **training: Any,
    ) -> Self:
        """Train on normal images and return the detector itself: all phases, by the rules of `medood train`, without any file.

        images    normal images (N, C, H, W) in the range of the spec, or (N, H, W) of one channel; or a list, data set or DataLoader of
                  such images: its items are images (C, H, W), tuples that begin with one, or mappings with one under "image"
        held_out  normal images of other patients; every learning phase ends with the weights of the epoch that was best on them, without
                  them with those of its last epoch. An ensemble cannot do without
        seed      decides the order of the images and all that is random in training; torch's own generators are left as they were. The
                  first weights were drawn when the detector was made: call `torch.manual_seed` before that
        augment   changes every training image anew, as `medood.augmentation(["mask_boxes"])` does; Patch-GAN cannot do without
        contrast  for a detector that learns from one: images of other things, which nobody labelled, given as `images` are; "synthetic",
                  anomalies pasted into the training images; or "product_of_marginals", of a detector on features
        on_epoch  is told of every epoch; `print` will do
        training  keys of a recipe's section `training`, such as epochs=20, batch_size=32, patience=5 (`medood recipe keys` explains all)

        It trains where the detector is: `detector.to("cuda").fit(...)`. Of a DataLoader the data set, the batch size and the collating
        function are used; the order of the images follows from the seed, and one background thread reads them.
        Raises MedoodError for images of another shape, range or kind, RecipeError for unknown keys, TrainingError as training does.

        >>> import numpy as np
        >>> images = np.random.default_rng(0).random((12, 1, 32, 32), dtype=np.float32)
        >>> import medood
        >>> detector = medood.detector("autoencoder", (1, 32, 32), width=2, latent=2).fit(images[:8], images[8:], epochs=1)
        >>> detector.score(images).image.shape
        torch.Size([12])
        """
        trainer = import_module("medood.training.fitting")  # by its name, as the catalogue loads detectors: it stands above this room
        options = {"seed": seed, "augment": augment, "contrast": contrast, "on_epoch": on_epoch, "training": training}
        trainer.fit(self, images, held_out, **options)
        return self

    @property
    def fitted(self) -> bool:
        """Whether the detector can score: after `fit`, after loading, and after `mark_fitted`."""
        return bool(self.fitted_)

    @final
    def mark_fitted(self) -> Self:
        """Say that a loop of one's own over `phases` is done: from now on the detector scores. Puts it into eval mode and returns it.

        A phase with `held_out` above 0 is to be run on held-out images.

        ```
        for phase in detector.phases():
            learns = bool(phase.optimizers)
            detector.train(learns)
            with torch.no_grad():
                phase.begin()
            for epoch in range(phase.epochs):
                for images in loader:
                    with torch.set_grad_enabled(learns):
                        losses = phase.step(medood.Batch(images), phase.update)
            with torch.no_grad():
                phase.finish()
        detector.mark_fitted()
        ```
        """
        self.fitted_.fill_(True)
        return self.eval()

    def forecast(self, images: int) -> str:
        """A sentence on the memory that training on so many images will take, where that grows with them; said before it starts."""
        return ""

    def cost_of_scoring(self) -> str:
        """A sentence on why scoring takes many times as long as one would expect; said before it starts."""
        return ""

    def score(self, image: Tensor | np.ndarray) -> Scores:
        """Score (B, C, H, W) images in the range of the spec: in eval mode, without gradients, each image by itself.

        Arrays, and tensors of another device or floating type, are brought to the detector. Raises NotFitted before training, MedoodError
        when the shape is not the spec's or a value is outside its range. Leaves the detector as it was.
        """
        return self._at_rest(self._score, image)

    def reconstructions(self, image: Tensor | np.ndarray) -> dict[str, Tensor]:
        """What the method makes of (B, C, H, W) images, to look at: (B, C, H, W) each, by the titles of a figure and in its order.

        The last one, x', is the finished reconstruction. Values lie in the range of the spec: what a network without a last activation
        puts outside is cut off. Empty for a method that does not reconstruct. Otherwise as `score`.
        """
        made = self._at_rest(self._reconstructions, image)
        return {title: value.clamp(self.spec.low, self.spec.high) for title, value in made.items()}

    def made_normal(self, image: Tensor | np.ndarray) -> Tensor | None:
        """(B, C, H, W) images, each changed step by step until the method finds it more normal: a look at what it takes for normal.

        None for a method that cannot. Otherwise as `score`.
        """
        return self._at_rest(self._made_normal, image)

    def _at_rest(self, method: Callable[[Tensor], Result], image: Tensor | np.ndarray) -> Result:
        """What `method` says of images that it can take, in eval mode and without gradients."""
        if not self.fitted:
            raise NotFitted(f"{type(self).__name__} has not been trained yet: train it, or load it from a run folder.")
        kind = next((parameter.dtype for parameter in self.parameters()), torch.float32)
        images = self.spec.checked(image, type(self).__name__).to(self.fitted_.device, kind)
        with self.at_rest():
            return method(images)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """In eval mode, without gradients and in full precision inside the block; afterwards every module is in the mode that it was in."""
        modes = {module: module.training for module in self.modules()}  # parts may be frozen in eval mode by themselves
        self.eval()
        try:
            with torch.no_grad(), exact_convolutions():
                yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def arithmetic(self) -> torch.autocast:
        """Inside the block convolutions and matrix products are computed, and come out, in bfloat16 if the detector `rounds`."""
        return torch.autocast(self.fitted_.device.type, torch.bfloat16, enabled=self.rounds)

    def _score(self, image: Tensor) -> Scores:
        """The method's own score; called in eval mode without gradients (enable them locally where the score needs them)."""
        raise NotImplementedError

    def _reconstructions(self, image: Tensor) -> dict[str, Tensor]:
        """The method's own reconstructions, if it makes any; called as `_score` is."""
        return {}

    def _made_normal(self, image: Tensor) -> Tensor | None:
        """The method's own way to make images more normal, if it has one; called as `_score` is."""
        return None

    def foreground(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) bool: True inside the body, from the spec's background value; all True when there is none."""
        if self.spec.background is None:
            return torch.ones_like(image[:, :1], dtype=torch.bool)
        return (image != self.spec.background).any(1, keepdim=True)
