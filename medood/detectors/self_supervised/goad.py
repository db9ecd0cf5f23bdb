"""Classification by the distance from centres of transforms."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus
from torch.optim import Adam

from medood.core.demands import require_multiple, require_square_multiple
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.device import exact_arithmetic
from medood.core.running.processes import mean, part, shared, summed, together
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt
from medood.nets.images.geometric_transforms import GeometricTransforms, all_of
from medood.nets.images.margin_map import margin_weights, returned, shortfall, stretched
from medood.nets.images.signed import signed
from medood.nets.usual_places import UsualPlaces
from medood.nets.wide_resnet import GRID_STEP, STEP, WideResNet, linear_head


class Goad(Detector):
    """Draws normal images under one transform together, away from those under others; the distances from the centres are the score.

    Bergman & Hoshen, "Classification-based anomaly detection for general data" (GOAD), ICLR 2020, written from the paper. The transforms
    are those of GeoTrans. Takes any range; squares whose sides are multiples of 32 pixels.

    transforms      which are told apart: "all" 72, "turns" 8, "shifts" 9; GeoTrans says when to take which. With "shifts" height and
                    width may differ
    depth, width    of the wide residual network
    margin          squared distance by which another centre is to be further away than one's own
    closeness       weight of the loss that demands it, beside the cross entropy of a linear classifier
    shrinkage       weight of the mean square of the features, which the paper does not have but the authors' code does: without it they
                    grow until every probability is 0 or 1
    smoothing       is added to the likelihood of every transform, before they become probabilities: a centre infinitely far away then
                    costs a finite amount
    images          that are drawn together at a time, each under all transforms; the centres of training are means over so many
    learning_rate   of Adam
    epochs          passes over the images, each of them under all transforms

    Score: minus the logarithm of the probability of the right transform, mean over the transforms, where likelihoods fall with the squared
    distance from the centres. Unlike in the authors' code, those come from the finished network, which learns with batch norm in all
    epochs and has the activation in the middle of each block. The last epoch counts.

    Map: where the certainty about the right transforms is lost, as GeoTrans makes it; `smoothing` does not change it. The mean of a map is
    by how much further away the other centres are than the right one, in squared distances, falls short of that of the training images.
    """

    can_round = True
    centres_: Tensor  # (T, features)
    usual_: Tensor  # (1, h, w), the mean map of the training images on the network's grid

    def __init__(
        self,
        spec: ImageSpec,
        *,
        transforms: Literal["all", "turns", "shifts"] = "all",
        depth: PositiveInt = 10,
        width: PositiveInt = 4,
        margin: NonNegativeFloat = 0.1,
        closeness: NonNegativeFloat = 0.1,
        shrinkage: NonNegativeFloat = 10.0,
        smoothing: NonNegativeFloat = 0.0,
        images: PositiveInt = 4,
        learning_rate: PositiveFloat = 1e-3,
        epochs: PositiveInt = 16,
    ) -> None:
        super().__init__(spec)
        turned, shifted = transforms != "shifts", transforms != "turns"
        if turned:
            require_square_multiple(spec, STEP, "GOAD with quarter turns (`transforms: shifts` has none)")
        else:
            require_multiple(spec, STEP, "GOAD")
        self.transforms = GeometricTransforms(spec.height, spec.width, flips=turned, shifts=shifted, turns=turned)
        self.network = WideResNet(spec.channels, spec.height, spec.width, depth=depth, width=width)
        self.head = linear_head(self.network.features, len(self.transforms))
        self.margin, self.closeness, self.shrinkage, self.smoothing = margin, closeness, shrinkage, smoothing
        self.images, self.learning_rate, self.epochs = images, learning_rate, epochs
        self.register_buffer("centres_", torch.zeros(len(self.transforms), self.network.features))
        self.register_buffer("usual_", torch.zeros(1, spec.height // GRID_STEP, spec.width // GRID_STEP))

    def phases(self) -> list[Phase]:
        return [_Classifier(self), _Centres(self), UsualPlaces(self)]

    def grid(self, image: Tensor, number: int) -> Tensor:
        """(B, F, h, w) of images under one transform; its means over squares are the features."""
        with self.arithmetic():
            return self.network.grid(signed(self.transforms(image, number), self.spec)).to(image)

    def features(self, image: Tensor, number: int) -> Tensor:
        """(B, features) of images under one transform."""
        return self.network.pool(self.grid(image, number))

    def loss(self, image: Tensor) -> Tensor:
        """() of a few images, each under all transforms."""
        features = self.network(signed(all_of(self.transforms, image), self.spec)).float()
        right = torch.arange(len(self.transforms), device=image.device).repeat(len(image))
        told = mean(cross_entropy(self.head(features), right, reduction="none"))
        centres = mean(features.view(len(image), len(self.transforms), -1))
        shrunk = mean(features.square().mean(1))
        return told + self.closeness * mean(too_far(features, centres, right, self.margin)) + self.shrinkage * shrunk

    def judged(self, image: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Squared distances (B, T) of images under one transform, and by how much each place falls short of the right centre, (B, 1, h, w)
        in the frame of the images.

        Distances are |z|^2 + |c|^2 - 2 c z, and what all of them share does not change a probability, so they are logits of a linear layer.
        """
        grid = self.grid(image, number)
        distances = squared_distances(self.network.pool(grid), self.centres_)
        weights = margin_weights(-distances, number)
        short = shortfall(self.network, grid, weights @ (2 * self.centres_), -weights @ self.centres_.square().sum(1))
        return distances, returned(self.transforms, short, number)

    def places(self, image: Tensor) -> Tensor:
        """(B, 1, h, w): by how much each place falls short, mean over the transforms."""
        return torch.stack([self.judged(image, number)[1] for number in range(len(self.transforms))]).mean(0)

    def _score(self, image: Tensor) -> Scores:
        total, short = image.new_zeros(len(image)), image.new_zeros(len(image), *self.usual_.shape)
        for number in range(len(self.transforms)):
            distances, places = self.judged(image, number)
            total = total + surprise(distances, torch.full((len(image),), number, device=image.device), self.smoothing)
            short = short + places
        count = len(self.transforms)
        return Scores((total / count).float(), stretched(short / count - self.usual_))


def squared_distances(features: Tensor, centres: Tensor) -> Tensor:
    """(n, T) from (n, features) and (T, features), without the cancellation of a matrix product: a score is made of small differences."""
    return torch.cdist(features.float(), centres.float(), compute_mode="donot_use_mm_for_euclid_dist").square()


def too_far(features: Tensor, centres: Tensor, right: Tensor, margin: float) -> Tensor:
    """(n,): by how much features (n, F) are not nearer by `margin` to their `right` centre (n,) than to the nearest other; in float32, as
    rounding would be of the size of the margin."""
    with exact_arithmetic(features.device):
        distances = features.square().sum(1, keepdim=True) + centres.square().sum(1) - 2 * features @ centres.T
    own = distances.gather(1, right[:, None])[:, 0]
    others = distances.scatter(1, right[:, None], torch.inf).amin(1)
    return (own + margin - others).clamp(min=0)


def surprise(distances: Tensor, right: Tensor, smoothing: float) -> Tensor:
    """(n,) float64: minus the logarithm of the probability of the `right` transform (n,), from squared distances (n, T).

    Likelihoods are exp(-distance) + `smoothing`. Probabilities next to 1 differ: nothing is subtracted from 1. Apple's GPUs, which have no
    float64, compute in float32.
    """
    logs = -distances.to(torch.float32 if distances.device.type == "mps" else torch.float64)
    if smoothing:
        logs = torch.logaddexp(logs, logs.new_tensor(smoothing).log())
    own = logs.gather(1, right[:, None])
    return softplus((logs - own).scatter(1, right[:, None], -torch.inf).logsumexp(1))


class _Classifier(Phase):
    name = "classifier"

    def __init__(self, detector: Goad) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = [*detector.network.parameters(), *detector.head.parameters()]
        self.optimizers = {"classifier": Adam(parameters, detector.learning_rate, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        losses = []
        for images in together(batch.image).tensor_split(-(-batch.whole // self.detector.images)):
            loss = self.detector.loss(images[part(len(images))] if shared() else images)
            update(loss, "classifier")
            losses.append(loss.detach())
        return {"loss": torch.stack(losses).mean()}


class _Centres(Phase):
    """The means of the features under each transform over all images; one pass."""

    name = "centres"

    def __init__(self, detector: Goad) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.count, self.sums = 0, torch.zeros_like(self.detector.centres_)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.count += batch.whole
        for number in range(len(self.detector.transforms)):
            self.sums[number] += summed(self.detector.features(batch.image, number).sum(0))
        return {}

    def finish(self) -> None:
        self.detector.centres_.copy_(self.sums / self.count)
