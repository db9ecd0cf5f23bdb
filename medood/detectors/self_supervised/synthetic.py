"""Segmentation of anomalies that were pasted into normal images."""

from __future__ import annotations

from typing import Literal

import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from medood.core.demands import require_multiple
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError
from medood.core.types import Fraction, NonNegativeFloat, Percent, PositiveFloat, PositiveInt
from medood.nets.body import mean_inside, percentile_inside
from medood.nets.images.pasted import Paste, Pasted
from medood.nets.u_net import STEP, UNet

_VALIDATION_SEED = 0


class Synthetic(Detector):
    """A U-Net that learned to find pasted anomalies in normal images finds real ones that are not too unlike them.

    After Foreign Patch Interpolation (Tan et al., 2020), Poisson Image Interpolation (Tan et al., MICCAI 2021) and CutPaste (Li et al.,
    CVPR 2021), of which the pastes are, and with blobs of our own. The target of a pixel is how much its surroundings were changed, 1
    from 15 % of the range on; the loss is the binary cross entropy plus the Dice loss, inside the body alone. The map is the predicted
    target, 0..1; 0 outside the body. Held-out normal images with the same pasted anomalies each time choose the epoch. No real anomaly is
    ever seen. Takes any range; height and width are multiples of 8, at least 16.

    anomalies      those that are drawn from, with equal chances
                   "cutpaste": a part of the same image at another place
                   "fpi": a part of another image of the batch at the same place, mixed in
                   "poisson": the gradients of such a part, without a seam
                   "blobs": bright, dark or rough, with a soft edge
    most           1 to so many in an image
    smallest       shortest side of a pasted part, as a share of the square root of the body's area
    largest        longest side, likewise
    pasted         share of the images that get any
    dice           weight of the Dice loss
    percentile     the image score is this percentile of the map inside the body; null: its mean, as in FPI
    width          channels of the U-Net at full size
    learning_rate  of Adam
    weight_decay   of Adam
    epochs         of training

    Parts: "mean" and "p99", mean and 99th percentile of the map inside the body.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        anomalies: tuple[Literal["cutpaste", "fpi", "poisson", "blobs"], ...] = ("cutpaste", "fpi", "poisson", "blobs"),
        most: PositiveInt = 3,
        smallest: Fraction = 0.05,
        largest: Fraction = 0.4,
        pasted: Fraction = 0.8,
        dice: NonNegativeFloat = 1.0,
        percentile: Percent | None = None,
        width: PositiveInt = 32,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 1e-5,
        epochs: PositiveInt = 100,
    ) -> None:
        super().__init__(spec)
        require_multiple(spec, STEP, "Synthetic", least=2 * STEP)
        if not anomalies or smallest > largest or pasted == 0:
            raise MedoodError(
                "Synthetic: name at least one kind of `anomalies`, let `smallest` be no more than `largest`, and paste into a share "
                f"`pasted` above 0 of the images; found {list(anomalies)}, {smallest:g}, {largest:g} and {pasted:g}."
            )
        self.dice, self.percentile = dice, percentile
        self.learning_rate, self.weight_decay, self.epochs = learning_rate, weight_decay, epochs
        self.paste = Paste(tuple(anomalies), most, (smallest, largest), pasted, spec.low, spec.high)
        self.network = UNet(spec.channels, 1, width)
        self.overlap = DiceLoss(sigmoid=True, soft_label=True, reduction="none")

    def phases(self) -> list[Phase]:
        return [_Segmentation(self)]

    def losses(self, image: Tensor, random: torch.Generator) -> Tensor:
        """(B,): how badly the anomalies are found that `random` pastes into the images."""
        inside = self.foreground(image)
        made: Pasted = self.paste(image, inside, random)
        logits = self.network(made.image).float().masked_fill(~inside, -100.0)
        missed = binary_cross_entropy_with_logits(logits, made.target, reduction="none")
        return mean_inside(missed, inside) + self.dice * self.overlap(logits, made.target).flatten()

    def _score(self, image: Tensor) -> Scores:
        inside = self.foreground(image)
        heat = torch.where(inside, self.network(image).sigmoid(), 0.0)
        parts = {"mean": mean_inside(heat, inside), "p99": percentile_inside(heat, inside, 99.0)}
        score = parts["mean"] if self.percentile is None else percentile_inside(heat, inside, self.percentile)
        return Scores(score, heat, parts=parts)


class _Segmentation(Phase):
    name = "segmentation"

    def __init__(self, detector: Synthetic) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = detector.network.parameters()
        self.optimizers = {"synthetic": Adam(parameters, detector.learning_rate, weight_decay=detector.weight_decay, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        loss = self.detector.losses(batch.image, random).mean()
        update(loss, "synthetic")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        return self.detector.losses(batch.image, torch.Generator().manual_seed(_VALIDATION_SEED))
