"""A classifier of turns and shifts with a head for each."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from medood.core.demands import require_multiple, require_square_multiple
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.types import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from medood.nets.densities.dirichlet import log_probabilities
from medood.nets.images.geometric_transforms import GeometricTransforms
from medood.nets.images.margin_map import margin_weights, returned, shortfall, stretched
from medood.nets.images.signed import signed
from medood.nets.usual_places import UsualPlaces
from medood.nets.wide_resnet import GRID_STEP, STEP, WideResNet, linear_head


class RotTrans(Detector):
    """Learns to tell by which turn and which shifts a normal image was changed, with one answer for each of them.

    Hendrycks et al., "Using self-supervised learning can improve model robustness and uncertainty", NeurIPS 2019, "Rot + Trans"; their
    code for one class was not published, so network, schedule and number of epochs are ours. Where GeoTrans has an answer for each of 72
    combinations, this has three, of 3, 3 and 4 choices, and a shifted image is continued without repeating its edge.
    Takes any range; squares whose sides are multiples of 32 pixels.

    transforms     which are told apart:
                   "all": 36, 9 shifts by a quarter of the side x 4 quarter turns
                   "turns": the 4 turns alone ("RotNet")
                   "shifts": the 9 shifts alone, for what looks the same however it is turned, such as skin lesions and tissue sections.
                   Height and width may then differ
    depth, width   of the wide residual network
    dropout        inside its blocks, while it learns
    score          "log": minus the logarithms of the probabilities of the right answers, mean over transforms and answers.
                   "probability": 1 less the mean probability, which the authors take
    learning_rate  of SGD with Nesterov momentum 0.9; the authors let it fall to 0: `training.schedule: cosine`
    weight_decay   of SGD
    epochs         passes over the images, each of them under one transform that is drawn anew

    Map: where the certainty about the right answers is lost, as GeoTrans makes it. The mean of a map is by how much the margin between the
    right answer and the others, in logits, falls short of that of the training images, mean over answers and transforms.

    Parts: "log" and "probability", whichever is the score.
    """

    can_round = True
    usual_: Tensor  # (1, h, w), the mean map of the training images on the network's grid

    def __init__(
        self,
        spec: ImageSpec,
        *,
        transforms: Literal["all", "turns", "shifts"] = "all",
        depth: PositiveInt = 16,
        width: PositiveInt = 4,
        dropout: Fraction = 0.3,
        score: Literal["log", "probability"] = "log",
        learning_rate: PositiveFloat = 0.1,
        weight_decay: NonNegativeFloat = 5e-4,
        epochs: PositiveInt = 200,
    ) -> None:
        super().__init__(spec)
        turned, shifted = transforms != "shifts", transforms != "turns"
        if turned:
            require_square_multiple(spec, STEP, "RotTrans with quarter turns (`transforms: shifts` has none)")
        else:
            require_multiple(spec, STEP, "RotTrans")
        self.transforms = GeometricTransforms(spec.height, spec.width, flips=False, shifts=shifted, turns=turned, border="reflect")
        self.choices = [3, 3] * shifted + [4] * turned
        self.network = WideResNet(spec.channels, spec.height, spec.width, depth=depth, width=width, dropout=dropout)
        self.head = linear_head(self.network.features, sum(self.choices))
        self.score_by, self.learning_rate, self.weight_decay, self.epochs = score, learning_rate, weight_decay, epochs
        self.register_buffer("usual_", torch.zeros(1, spec.height // GRID_STEP, spec.width // GRID_STEP))

    def phases(self) -> list[Phase]:
        return [_Classifier(self), UsualPlaces(self)]

    def logits(self, image: Tensor, number: Tensor | int) -> tuple[Tensor, ...]:
        """For each answer (B, choices): what the heads say of images under the transforms of these numbers."""
        return self.head(self.network(signed(self.transforms(image, number), self.spec))).split(self.choices, 1)

    def answers(self) -> Tensor:
        """int64 (T, answers): the right choices for each transform."""
        labels = self.transforms.labels
        return labels[:, {2: [1, 2], 1: [3], 3: [1, 2, 3]}[len(self.choices)]]

    def losses(self, image: Tensor, number: Tensor) -> Tensor:
        """(B,): the mean cross entropy of the answers for each image."""
        right = self.answers()[number]
        each = [cross_entropy(a.float(), b, reduction="none") for a, b in zip(self.logits(image, number), right.unbind(1), strict=True)]
        return torch.stack(each).mean(0)

    def judged(self, image: Tensor, number: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """What the heads say of images under one transform, (B, choices) for each answer, and by how much each place falls short of the
        right ones, (B, 1, h, w) in the frame of the images."""
        with self.arithmetic():
            grid = self.network.grid(signed(self.transforms(image, number), self.spec)).to(image)
        said = self.head(self.network.pool(grid)).split(self.choices, 1)
        margins = [margin_weights(logits, right) for logits, right in zip(said, self.answers()[number].tolist(), strict=True)]
        weights = torch.cat(margins, 1) / len(margins)
        short = shortfall(self.network, grid, weights @ self.head.weight, weights @ self.head.bias)
        return said, returned(self.transforms, short, number)

    def places(self, image: Tensor) -> Tensor:
        """(B, 1, h, w): by how much each place falls short, mean over the transforms."""
        return torch.stack([self.judged(image, number)[1] for number in range(len(self.transforms))]).mean(0)

    def _score(self, image: Tensor) -> Scores:
        answers, sums = self.answers(), image.new_zeros(2, len(image))
        short = image.new_zeros(len(image), *self.usual_.shape)
        for number in range(len(self.transforms)):
            said, places = self.judged(image, number)
            logs = torch.stack([log_probabilities(a)[:, right] for a, right in zip(said, answers[number].tolist(), strict=True)])
            sums += torch.stack([logs, logs.exp()]).mean(1).float()
            short = short + places
        log, probability = sums / len(self.transforms)
        parts = {"log": -log, "probability": 1 - probability}
        return Scores(parts[self.score_by], stretched(short / len(self.transforms) - self.usual_), parts=parts)


class _Classifier(Phase):
    name = "classifier"

    def __init__(self, detector: RotTrans) -> None:
        self.detector = detector
        self.epochs = detector.epochs
        parameters = [*detector.network.parameters(), *detector.head.parameters()]
        optimizer = SGD(parameters, detector.learning_rate, 0.9, nesterov=True, weight_decay=detector.weight_decay)
        self.optimizers = {"classifier": optimizer}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        loss = self.detector.losses(batch.image, self.detector.transforms.draw(len(batch.image))).mean()
        update(loss, "classifier")
        return {"loss": loss.detach()}

    def validate(self, batch: Batch) -> Tensor:
        """Each image under one transform, the same one in every epoch."""
        number = self.detector.transforms.draw(len(batch.image), torch.Generator().manual_seed(0))
        return self.detector.losses(batch.image, number)
