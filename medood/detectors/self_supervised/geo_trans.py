"""A classifier of geometric transforms."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

from medood.core.demands import require_multiple, require_square_multiple, required_classes
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, MedoodWarning
from medood.core.running.processes import summed
from medood.core.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from medood.nets.densities.dirichlet import fit_dirichlet, log_probabilities
from medood.nets.images.ascent import ascend
from medood.nets.images.geometric_transforms import GeometricTransforms
from medood.nets.images.margin_map import margin_weights, returned, shortfall, stretched
from medood.nets.images.signed import signed
from medood.nets.wide_resnet import GRID_STEP, STEP, WideResNet, linear_head

_LEAST_HELD_OUT = 100
_AT_ONCE = 8  # transforms in a step towards normality


class GeoTrans(Detector):
    """Learns to tell by which flip, shift and turn a normal image was changed; where it cannot tell, the image is anomalous.

    Golan & El-Yaniv, "Deep anomaly detection using geometric transformations", NeurIPS 2018; the network and what the paper leaves out
    are the authors' code's. It sees shape and layout, which reconstruction misses. Takes any range; squares whose sides are multiples of
    32 pixels.

    transforms     which are told apart:
                   "all": 72, a flip x 9 shifts by a quarter of the side x 4 quarter turns. For objects that have an upright position, such
                   as radiographs of the chest, and for photographs of things
                   "turns": 8, a flip x 4 quarter turns. Nine times faster; where the border is black, so that shifts show there and
                   nowhere else
                   "shifts": 9. For what looks the same however it is turned, such as skin lesions, tissue sections and retinas from
                   the front: no classifier can tell the turns of those. Height and width may differ
    depth, width   of the wide residual network: 10 and 4 for 32 pixels, 16 and 8 for 64 pixels and more in the paper
    score          "dirichlet": how unlikely the classifier's probabilities are under Dirichlet distributions, one per transform, that were
                   fitted to those of normal images. "simplified": 1 less the mean probability of the right transform
    fitted_on      normal images that the Dirichlet distributions are fitted on: "training", on which the classifier is too sure, as in
                   the paper, or "held_out", of which it takes a hundred: they set the threshold too, which would be too low for few
    classes        of the normal images, which a second answer of the network tells apart while it learns: as many as the source names, by
                   a column `class` in a table, say; 0: none. With classes the paper takes the simplified score and SGD
    optimizer      "adam", or "sgd" with Nesterov momentum 0.9
    learning_rate  of the optimizer
    weight_decay   of the optimizer
    epochs         passes over the images, each of them under one transform that is drawn anew. The paper passes three times over an image
                   set with all transforms of each image, which is as many steps as 216 passes; the transforms are never held together

    Map: where the certainty about the right transforms is lost. The logits are means over places of what each place says (class-activation
    maps: Zhou et al., CVPR 2016), so this adds up: the mean of a map is by how much the margin between the right transform and the others,
    in logits, falls short of that of the normal images of `fitted_on`, mean over the transforms. Each is turned back into the image's own
    frame first, and each place is compared with the same place of those images. It costs nothing but the scoring itself; a place is of
    4 x 4 pixels, and what it says depends on what surrounds it.

    Parts: "dirichlet" and "simplified", whichever is the score. Where a classifier gives all images the same probabilities under a
    transform, there is no such distribution: training warns, and the simplified score counts for this transform.
    """

    can_round = True
    alpha_: Tensor  # (T, T), the parameters of each transform's distribution
    same_: Tensor  # bool (T,), transforms without one
    usual_: Tensor  # (1, h, w), the mean map of normal images on the network's grid

    def __init__(
        self,
        spec: ImageSpec,
        *,
        transforms: Literal["all", "turns", "shifts"] = "all",
        depth: PositiveInt = 10,
        width: PositiveInt = 4,
        score: Literal["dirichlet", "simplified"] = "dirichlet",
        fitted_on: Literal["training", "held_out"] = "training",
        classes: NonNegativeInt = 0,
        optimizer: Literal["adam", "sgd"] = "adam",
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 5e-4,
        epochs: PositiveInt = 216,
    ) -> None:
        super().__init__(spec)
        turned, shifted = transforms != "shifts", transforms != "turns"
        if turned:
            require_square_multiple(spec, STEP, "GeoTrans with quarter turns (`transforms: shifts` has none)")
        else:
            require_multiple(spec, STEP, "GeoTrans")
        self.transforms = GeometricTransforms(spec.height, spec.width, flips=turned, shifts=shifted, turns=turned)
        self.network = WideResNet(spec.channels, spec.height, spec.width, depth=depth, width=width)
        self.head = linear_head(self.network.features, len(self.transforms))
        if classes == 1:
            raise MedoodError("GeoTrans tells two classes or more apart: set `classes` to their number, or to 0 for none.")
        self.class_head = linear_head(self.network.features, classes) if classes else None
        self.score_by, self.fitted_on, self.optimizer = score, fitted_on, optimizer
        self.learning_rate, self.weight_decay, self.epochs = learning_rate, weight_decay, epochs
        self.register_buffer("alpha_", torch.ones(len(self.transforms), len(self.transforms)))
        self.register_buffer("same_", torch.zeros(len(self.transforms), dtype=torch.bool))
        self.register_buffer("usual_", torch.zeros(1, spec.height // GRID_STEP, spec.width // GRID_STEP))

    def phases(self) -> list[Phase]:
        return [_Classifier(self), _Dirichlet(self)]

    def logits(self, image: Tensor, number: Tensor | int) -> Tensor:
        """(B, T): what the classifier says of images under the transforms of these numbers."""
        return self.head(self.network(signed(self.transforms(image, number), self.spec)))

    def judged(self, image: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Logits (B, T) of images under one transform, and by how much each place falls short of the right one, (B, 1, h, w) in the frame
        of the images."""
        with self.arithmetic():
            grid = self.network.grid(signed(self.transforms(image, number), self.spec)).to(image)
        logits = self.head(self.network.pool(grid))
        weights = margin_weights(logits, number)
        short = shortfall(self.network, grid, weights @ self.head.weight, weights @ self.head.bias)
        return logits, returned(self.transforms, short, number)

    def losses(self, batch: Batch, number: Tensor) -> Tensor:
        """(B,): cross entropies of the transform of each image, and of its class where classes are told apart and it has one."""
        if self.class_head is None:
            return cross_entropy(self.logits(batch.image, number).float(), number, reduction="none")
        classes, features = required_classes(batch), self.network(signed(self.transforms(batch.image, number), self.spec))
        told = cross_entropy(self.class_head(features).float(), classes, reduction="none", ignore_index=-1)
        return told + cross_entropy(self.head(features).float(), number, reduction="none")

    def solve(self, mean: Tensor, mean_log: Tensor) -> None:
        """Fit the distributions to means over the images, (T, T) each, of probabilities and of their logarithms."""
        alpha = fit_dirichlet(mean, mean_log)
        self.same_.copy_(alpha.isnan().any(1))
        self.alpha_.copy_(alpha.nan_to_num(1.0))
        if count := int(self.same_.sum()):
            warnings.warn(
                f"GeoTrans gives all normal images the same probabilities, as far as numbers tell, under {count} of "
                f"{len(self.transforms)} transforms; the simplified score counts for those. Train fewer epochs, or set "
                "`fitted_on: held_out`.",
                MedoodWarning,
                stacklevel=2,
            )

    def _score(self, image: Tensor) -> Scores:
        normality = simplified = image.new_zeros(len(image))
        short = image.new_zeros(len(image), *self.usual_.shape)
        for number in range(len(self.transforms)):
            logits, places = self.judged(image, number)
            logs, short = log_probabilities(logits), short + places
            right = logs[:, number].exp()
            likely = (logs @ (self.alpha_[number].to(logs) - 1)).where(~self.same_[number], right)
            normality, simplified = normality + likely, simplified + right
        count = len(self.transforms)
        parts = {"dirichlet": (-normality / count).float(), "simplified": (1 - simplified / count).float()}
        return Scores(parts[self.score_by], stretched(short / count - self.usual_), parts=parts)

    def _made_normal(self, image: Tensor) -> Tensor:
        """By the simplified score, as in the paper's figure 1; of all transforms, every step takes a few by turns."""
        count = len(self.transforms)
        taken = min(_AT_ONCE, count)

        def normality(image: Tensor, step: int) -> Tensor:
            numbers = [(step + k * count // taken) % count for k in range(taken)]
            return torch.stack([self.logits(image, number).softmax(1)[:, number] for number in numbers]).mean(0)

        return ascend(image, normality, self.spec.low, self.spec.high)


class _Classifier(Phase):
    name = "classifier"

    def __init__(self, detector: GeoTrans) -> None:
        self.detector = detector
        self.epochs, self.classes = detector.epochs, detector.class_head.out_features if detector.class_head is not None else 0
        rate, decay = detector.learning_rate, detector.weight_decay
        self.optimizers: Mapping[str, Optimizer] = {
            "classifier": Adam(detector.parameters(), rate, eps=1e-7, weight_decay=decay, fused=True)
            if detector.optimizer == "adam"
            else SGD(detector.parameters(), rate, 0.9, nesterov=True, weight_decay=decay)
        }

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.detector.losses(batch, self.detector.transforms.draw(len(batch.image))).mean()
        update(loss, "classifier")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        """Each image under one transform, the same one in every epoch."""
        number = self.detector.transforms.draw(len(batch.image), torch.Generator().manual_seed(0))
        return self.detector.losses(batch, number)


class _Dirichlet(Phase):
    """Sums up probabilities, their logarithms and maps over the images, for every transform; one pass."""

    name = "dirichlet"

    def __init__(self, detector: GeoTrans) -> None:
        self.detector = detector
        self.held_out = _LEAST_HELD_OUT if detector.fitted_on == "held_out" else 0

    def begin(self) -> None:
        count = len(self.detector.transforms)
        self.count, self.sums = 0, torch.zeros(2, count, count, dtype=torch.float64)
        self.short = torch.zeros_like(self.detector.usual_)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self.count += batch.whole
        for number in range(len(self.detector.transforms)):
            logits, places = self.detector.judged(batch.image, number)
            logs, self.short = log_probabilities(logits), self.short + summed(places.sum(0))
            self.sums[:, number] += summed(torch.stack([logs.exp().sum(0), logs.sum(0)])).cpu()
        return {}

    def finish(self) -> None:
        mean, mean_log = self.sums / self.count
        self.detector.solve(mean, mean_log)
        self.detector.usual_.copy_(self.short / (self.count * len(self.detector.transforms)))
