"""Contrasting shifted instances."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from monai.networks.nets import ResNet
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.optim import SGD

from medood.core.demands import require_multiple, require_square_multiple
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.device import exact_arithmetic
from medood.core.errors import MedoodError, MedoodWarning
from medood.core.running.processes import together
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt
from medood.nets.images.geometric_transforms import GeometricTransforms
from medood.nets.images.views import draw_views, view
from medood.nets.strided import thin

_STEP = 8
_CODE, _TEST_AREA, _TEST_SEED = 128, (0.54, 0.54), 0


class Csi(Detector):
    """Learns to recognise each normal image among all others, turned copies of itself included; what resembles none of them is anomalous.

    Tack et al., "CSI: novelty detection via contrastive learning on distributionally shifted instances", NeurIPS 2020, written from the
    paper. Two views of an image (crops, flips, other brightness and contrast, other colours of RGB images) are to resemble each other more
    than any other image, and another head tells by which shift each was changed.
    It has no map but by `occlusion`: codes come from a network of the pooled features, so no sum over places gives the score. Takes one or
    three channels in any range; sides that are multiples of 8 pixels, equal ones for turns.

    shifts         changes after which an image counts as another one:
                   "turns": the quarter turns. For what has an upright position
                   "cutperm": the halves of the image swapped, the upper with the lower, the left with the right, or both. For what looks
                   the same however it is turned
    width          channels of the first stage of the ResNet-18; 64 in the paper
    temperature    of the contrastive loss
    views          of an image in scoring, under each shift; the same ones for every image
    learning_rate  of SGD with momentum 0.9. The paper has LARS on four GPUs with 512 images at a time; here it is one device, so give it
                   batches of 32 images or more, each of which becomes eight, and `training.schedule: cosine`
    weight_decay   of SGD
    epochs         of training

    Score: minus the mean over the shifts of the similarity to the nearest training image and of the certainty about the shift, each over
    its mean on the training images; "similarity" and "shift" are parts. The last epoch counts. All training images are kept, as 128
    numbers per shift.
    """

    localises = False
    can_round = True
    axes_: Tensor  # (4, N, 128), directions of the training images
    weights_: Tensor  # (2, 4), of similarities and certainties: 1 over their means on the training images

    def __init__(
        self,
        spec: ImageSpec,
        *,
        shifts: Literal["turns", "cutperm"] = "turns",
        width: PositiveInt = 64,
        temperature: PositiveFloat = 0.5,
        views: PositiveInt = 10,
        learning_rate: PositiveFloat = 0.1,
        weight_decay: NonNegativeFloat = 1e-6,
        epochs: PositiveInt = 1000,
    ) -> None:
        super().__init__(spec)
        if spec.channels not in (1, 3):
            raise MedoodError(f"CSI takes images of one or three channels, found {spec.channels}: set `channels` in the transforms file.")
        if shifts == "turns":
            require_square_multiple(spec, _STEP, "CSI with turns (`shifts: cutperm` has none)")
        else:
            require_multiple(spec, _STEP, "CSI")
        self.shifts, self.temperature, self.views = shifts, temperature, views
        self.learning_rate, self.weight_decay, self.epochs = learning_rate, weight_decay, epochs
        self.transforms = GeometricTransforms(spec.height, spec.width, flips=False, shifts=False) if shifts == "turns" else None
        self.network = _resnet18(spec.channels, width)
        features = 8 * width
        self.code = nn.Sequential(nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, _CODE))
        self.head = nn.Linear(features, 4)
        self.seen = draw_views(views, torch.Generator().manual_seed(_TEST_SEED), _TEST_AREA, flips=True)
        self.fitted_later("axes_")
        self.register_buffer("weights_", torch.ones(2, 4))

    def phases(self) -> list[Phase]:
        return [_Contrast(self), _Axes(self)]

    def shifted(self, image: Tensor, number: int) -> Tensor:
        """The images under shift `number` of 4; 0 leaves them as they are."""
        if self.transforms is not None:
            return self.transforms(image, number)
        down, right = number % 2 * (self.spec.height // 2), number // 2 * (self.spec.width // 2)
        return image.roll((down, right), (2, 3))

    def scaled(self, image: Tensor) -> Tensor:
        """0..1, which views are made of."""
        return (image - self.spec.low) / (self.spec.high - self.spec.low)

    def answers(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (n, 128) and what is said of the shift (n, 4), of views in 0..1."""
        features = self.network(2 * views - 1)
        return self.code(features), self.head(features)

    def loss(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses of a batch: of the codes, and of the shifts."""
        image, codes, said = self.scaled(image), [], []
        for _ in range(2):
            flipped = torch.where(torch.rand(len(image), 1, 1, 1).to(image.device) < 0.5, image.flip(3), image)
            copies = torch.cat([self.shifted(flipped, number) for number in range(4)])
            code, answer = self.answers(view(copies, draw_views(len(copies))))
            codes.append(code)
            said.append(answer)
        right = torch.arange(4, device=image.device).repeat_interleave(len(image)).repeat(2)
        return contrastive_loss(together(codes[0]), together(codes[1]), self.temperature), cross_entropy(torch.cat(said).float(), right)

    def observed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 4, 128) codes and (B, 4) certainties about the right shift: means over the views that every image is seen in."""
        codes, certainties = [], []
        for number in range(4):
            copies = self.shifted(self.scaled(image), number).repeat_interleave(self.views, 0)
            with self.arithmetic():
                code, said = self.answers(view(copies, self.seen.repeated(len(image))))
            codes.append(code.float().view(len(image), self.views, -1).mean(1))
            certainties.append(said[:, number].float().view(len(image), self.views).mean(1))
        return torch.stack(codes, 1), torch.stack(certainties, 1)

    def _score(self, image: Tensor) -> Scores:
        codes, certainties = self.observed(image)
        nearest = torch.stack([(codes[:, number] @ self.axes_[number].T).amax(1) for number in range(4)], 1)
        similarity, shift = -(torch.stack([nearest, certainties]) * self.weights_[:, None]).mean(2)
        parts = {"similarity": similarity, "shift": shift}
        return Scores(similarity + shift, parts=parts)


def contrastive_loss(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """(): NT-Xent of codes (n, F) of two views: each is to be nearest, by its cosine, to the other view of the same image among all 2 n."""
    codes = normalize(torch.cat([one, other]).float(), dim=1)
    count = len(one)
    with exact_arithmetic(codes.device):
        similar = codes @ codes.T / temperature
    similar = similar.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=codes.device), -torch.inf)
    partner = torch.arange(2 * count, device=codes.device).roll(count)
    return cross_entropy(similar, partner)


def _resnet18(channels: int, width: int) -> ResNet:
    """(B, channels, H, W) to (B, 8 width): the ResNet-18 for small images, whose first layer neither halves them nor pools."""
    network = ResNet(
        "basic",
        [2, 2, 2, 2],
        [width, 2 * width, 4 * width, 8 * width],
        spatial_dims=2,
        n_input_channels=channels,
        conv1_t_size=3,
        conv1_t_stride=1,
        no_max_pool=True,
        feed_forward=False,
        bias_downsample=False,
    )
    layers: Any = (network.layer2, network.layer3, network.layer4)
    for block in (layer[0] for layer in layers):
        convolution, norm = block.downsample
        block.downsample = nn.Sequential(*thin(convolution.in_channels, convolution.out_channels, 2), norm)
    return network


class _Contrast(Phase):
    name = "contrast"

    def __init__(self, detector: Csi) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        optimizer = SGD(detector.parameters(), detector.learning_rate, 0.9, weight_decay=detector.weight_decay)
        self.optimizers = {"contrast": optimizer}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        contrast, shift = self.detector.loss(batch.image)
        update(contrast + shift, "contrast")
        return {"contrast": contrast.detach(), "shift": shift.detach()}


class _Axes(Phase):
    """Keeps the direction of every training image's code, and the means that the parts of the score are measured by; one pass."""

    name = "axes"

    def __init__(self, detector: Csi) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.codes: list[Tensor] = []
        self.certainties: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        codes, certainties = self.detector.observed(batch.image)
        self.codes.append(together(codes))
        self.certainties.append(together(certainties))
        return {}

    def finish(self) -> None:
        detector, codes = self.detector, torch.cat(self.codes).transpose(0, 1).contiguous()
        detector.axes_ = normalize(codes, dim=2)
        means = torch.stack([codes.norm(dim=2).mean(1), torch.cat(self.certainties).mean(0)])
        detector.weights_.copy_(torch.where(means > 0, 1 / means, 0.0))
        if count := int((means[1] <= 0).sum()):
            warnings.warn(
                f"CSI cannot tell {count} of 4 shifts of the training images, so what it says of them does not count in its score: train "
                "more epochs, or try the other `shifts`.",
                MedoodWarning,
                stacklevel=2,
            )
