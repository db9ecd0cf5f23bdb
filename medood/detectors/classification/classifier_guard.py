"""A guard for a classifier: when not to trust it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from medood.core.demands import required_classes
from medood.core.detector import Batch, Detector, ImageSpec, Phase, Scores, Update
from medood.core.errors import MedoodError, MedoodWarning, TrainingError
from medood.core.running.processes import summed, together
from medood.core.types import NonNegativeFloat, PositiveFloat, PositiveInt
from medood.detectors.classification.confidence import Classes, energy_score, more_certain, softmax_score, tempered_score
from medood.features.classifiers.classifier import Classifier, open_classifier
from medood.nets.dcgan import coder
from medood.nets.densities.mixture import exact

_LEAST_PROBABILITY = 1e-30
_SATURATED = -16.6
"""log((1 - p) / p) below which p is 1 in single precision."""
_SUM = 1e-2
"""How far the sum of probabilities may be from 1: of a thousand in half precision."""


class ClassifierGuard(Detector):
    """How little a classifier knows an image: from its logits and from the features before its last layer.

    The classifier is yours, in a file of torch.export.save (.pt2) or of ONNX, and stays as it is; neither kind of file runs code here. Or a
    small one is trained on the column `class` of the source's table. "Normal" images are those that the classifier was made for, of all its
    classes. All four scores are parts; which one counts is `score`. It has no map but by `occlusion`: a gradient of the answer says what a
    pixel would change, not where the image is odd.

    classifier    the file, by its path or by its name in the folder of MEDOOD_WEIGHTS; null: one is trained
    sha256        of the file; a run keeps it and refuses another file
    outputs       what the classifier answers with: "logits", "probabilities" after a softmax, or "log_probabilities" after a log-softmax,
                  of which "energy" cannot be known
    mean, std     the classifier sees (image - mean) / std: a number, or one for each channel
    score         "softmax": log((1 - p) / p) of the highest probability p (Hendrycks and Gimpel, ICLR 2017). "energy": -log of the sum of
                  exp(logit) (Liu et al., NeurIPS 2020). "odin": the highest softmax at a high temperature, after a small step of the image
                  towards it (Liang et al., ICLR 2018). "mahalanobis": the squared distance of the features from the nearest class (Lee et
                  al., NeurIPS 2018), of the classes that the classifier itself sees in the training images, or those of the column `class`
    temperature   of "odin"
    epsilons      steps of "odin", as shares of the range, of which the one counts after which held-out normal images are the most certain
                  (Hsu et al., CVPR 2020): no image of another kind takes part. An ONNX file gives no gradients, so 0 alone
    classes       how many the column `class` has, for a classifier that is trained here; null for your own
    width         channels of its first convolution; they double up to 8 width
    learning_rate  of Adam
    epochs        of its training; the epoch with the smallest cross-entropy of held-out images counts
    """

    localises = False
    means_: Tensor  # (classes, d)
    axes_: Tensor  # (d, r)
    weights_: Tensor  # (r + 1,)
    epsilon_: Tensor  # ()

    def __init__(
        self,
        spec: ImageSpec,
        *,
        classifier: str | None = None,
        sha256: str | None = None,
        outputs: Literal["logits", "probabilities", "log_probabilities"] = "logits",
        mean: tuple[float, ...] = (0.0,),
        std: tuple[PositiveFloat, ...] = (1.0,),
        score: Literal["softmax", "energy", "odin", "mahalanobis"] = "energy",
        temperature: PositiveFloat = 1000.0,
        epsilons: tuple[NonNegativeFloat, ...] = (0.0, 0.0007, 0.0014, 0.0028, 0.0056),
        classes: PositiveInt | None = None,
        width: PositiveInt = 32,
        learning_rate: PositiveFloat = 1e-3,
        epochs: PositiveInt = 30,
    ) -> None:
        super().__init__(spec)
        if (classifier is None) == (classes is None):
            raise MedoodError(
                "ClassifierGuard takes a `classifier`, the file of your own, or `classes`, how many the column `class` of the table has, "
                "to train one: give one of the two."
            )
        if classes == 1:
            raise MedoodError("ClassifierGuard: `classes: 1` leaves a classifier nothing to choose from: it takes two classes or more.")
        if score == "energy" and outputs != "logits":
            raise MedoodError(
                'ClassifierGuard: probabilities do not tell the "energy" of logits: choose another `score`, or export logits.'
            )
        self.yours = classifier is not None
        self.classifier: _Own | Classifier
        if classifier is None:
            self.classifier = _Own(spec, classes or 0, width, mean, std)
        else:
            self.classifier = open_classifier(classifier, spec, sha256=sha256, mean=mean, std=std)
            _refuse_steps(self.classifier, score, epsilons)
        self.by, self.outputs, self.temperature = score, outputs, temperature
        self.epsilons = tuple(sorted(set(epsilons))) if self.classifier.gradients else (0.0,)
        self.learning_rate, self.epochs = learning_rate, epochs
        self.fitted_later("means_", "axes_", "weights_")
        self.register_buffer("epsilon_", torch.zeros(()))

    def phases(self) -> list[Phase]:
        fixed: list[Phase] = [_Classes(self), _Step(self)]
        return fixed if self.yours else [_Learn(self), *fixed]

    def answers(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes), of probabilities up to a number for each image, and features (B, d), in double precision."""
        answers, features = self.classifier(image)
        return self.logits(exact(answers)), exact(features)

    def logits(self, answers: Tensor) -> Tensor:
        """(B, classes) of what the classifier answers with."""
        return answers.clamp(min=_LEAST_PROBABILITY).log() if self.outputs == "probabilities" else answers

    def towards(self, image: Tensor, direction: Tensor | None, epsilon: float) -> Tensor:
        """(B,): "odin" after a step of `epsilon`, a share of the range, in a direction that pixels may go."""
        if direction is not None and epsilon:
            image = image + epsilon * (self.spec.high - self.spec.low) * direction
        return tempered_score(self.answers(image)[0], self.temperature)

    def direction(self, image: Tensor) -> Tensor | None:
        """In which the classifier becomes more certain; None where no step is ever taken."""
        if self.epsilons == (0.0,):
            return None
        return more_certain(image, lambda changed: self.answers(changed)[0], self.temperature)

    def _score(self, image: Tensor) -> Scores:
        logits, features = self.answers(image)
        epsilon = float(self.epsilon_)
        known = Classes(exact(self.means_), exact(self.axes_), exact(self.weights_))
        parts: dict[str, Tensor] = {
            "softmax": softmax_score(logits),
            **({"energy": energy_score(logits)} if self.outputs == "logits" else {}),
            "odin": self.towards(image, self.direction(image) if epsilon else None, epsilon),
            "mahalanobis": known.score(features),
        }
        plain: Mapping[str, Tensor] = {name: value.float() for name, value in parts.items()}
        return Scores(plain[self.by], parts=plain)


class _Own(nn.Module):
    """A small classifier of our own, asked as `Classifier` is."""

    gradients = True
    mean: Tensor
    std: Tensor

    def __init__(self, spec: ImageSpec, classes: int, width: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        layers = list(coder(spec, "ClassifierGuard", width, classes))
        self.features, self.last, self.classes = nn.Sequential(*layers[:-1]), layers[-1], classes
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features((image - self.mean) / self.std)
        return self.last(features), features


def _refuse_steps(classifier: Classifier, score: str, epsilons: tuple[float, ...]) -> None:
    if score == "odin" and not classifier.gradients and any(epsilons):
        raise MedoodError(
            f'The classifier {classifier.path} gives no gradients, which the steps of "odin" need: set `epsilons: [0.0]` for its '
            "temperature alone, export it with torch.export.save, or choose another `score`."
        )


class _Learn(Phase):
    """The small classifier, by the classes of the images; images without a class do not count."""

    name = "classifier"

    def __init__(self, detector: ClassifierGuard) -> None:
        self.detector = detector
        self.epochs, self.classes = detector.epochs, detector.classifier.classes
        self.optimizers = {"classifier": Adam(detector.classifier.parameters(), detector.learning_rate, fused=True)}

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        classes = required_classes(batch)
        known = classes >= 0
        count = summed(known.sum())
        if not bool(count):
            return {}
        logits, _ = self.detector.classifier(batch.image)
        loss = summed(cross_entropy(logits[known], classes[known], reduction="sum")) / count
        update(loss, "classifier")
        return {"loss": loss.detach(), "wrong": summed((logits[known].argmax(1) != classes[known]).sum()) / count}

    def validate(self, batch: Batch) -> Tensor:
        """Cross-entropies; 0 for an image of no class, or of one that is not in training."""
        classes = required_classes(batch)
        logits, _ = self.detector.classifier(batch.image)
        return torch.where(classes >= 0, cross_entropy(logits, classes.clamp(min=0), reduction="none"), 0.0)


class _Classes(Phase):
    """Where each class lies among the features of the training images, and whether the classifier's answers are what they should be."""

    name = "classes"

    def __init__(self, detector: ClassifierGuard) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.answers: list[Tensor] = []
        self.features: list[Tensor] = []
        self.said: list[Tensor] = []

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        answers, features = (exact(each) for each in self.detector.classifier(batch.image))
        said = answers.argmax(1)
        if not self.detector.yours:
            named = required_classes(batch)
            said = torch.where(named >= 0, named, said)
        self.answers.append(together(answers))
        self.features.append(together(features))
        self.said.append(together(said))
        return {}

    def finish(self) -> None:
        detector, answers, classes = self.detector, torch.cat(self.answers), torch.cat(self.said)
        if not bool(answers.isfinite().all()):
            raise TrainingError("The classifier answers normal images with what are no numbers: check `mean`, `std` and the transforms.")
        if detector.yours:
            _check_answers(answers, detector.outputs)
        logits = detector.logits(answers)
        found = len(classes.unique())
        if found < 2:
            raise TrainingError(
                f"All {len(classes)} training images are of one class to the classifier: check `mean`, `std` and the transforms, and train "
                "the guard on images of all classes."
            )
        sure = float((softmax_score(logits) < _SATURATED).float().mean())
        if sure > 0.5:
            warnings.warn(
                f"The classifier is saturated: of {100 * sure:.0f} % of the normal images it is as sure as a number can say. Scores are "
                "computed without rounding, but prefer `score: mahalanobis`, which does not rest on how sure it is.",
                MedoodWarning,
                stacklevel=2,
            )
        known = Classes.of(torch.cat(self.features), classes, logits.shape[1])
        detector.means_, detector.axes_, detector.weights_ = (each.float() for each in (known.means, known.axes, known.weights))


def _check_answers(answers: Tensor, outputs: str) -> None:
    """Raises TrainingError when answers (n, classes) to normal images are not what a recipe says they are."""
    inside = bool(((answers >= 0) & (answers <= 1)).all())
    if inside and bool(((answers.sum(1) - 1).abs() < _SUM).all()):
        found = "probabilities"
    elif bool((answers.logsumexp(1).abs() < _SUM).all()):
        found = "log_probabilities"
    elif inside:
        raise TrainingError(
            "The classifier's answers lie between 0 and 1 and do not add up to 1, as probabilities of findings that do not exclude each "
            "other: these scores are for a classifier of classes that do."
        )
    else:
        found = "logits"
    if found != outputs:
        names = {name: name.replace("log_", "logarithms of ") for name in ("logits", "probabilities", "log_probabilities")}
        raise TrainingError(f"The classifier answers with {names[found]}, not {names[outputs]}: set `outputs: {found}`.")


class _Step(Phase):
    """The step of "odin" after which held-out normal images are the most certain."""

    name = "step"
    held_out = 1

    def __init__(self, detector: ClassifierGuard) -> None:
        self.detector = detector

    def begin(self) -> None:
        self.total = dict.fromkeys(self.detector.epsilons, 0.0)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        direction = self.detector.direction(batch.image)
        for epsilon in self.total:
            self.total[epsilon] += float(summed(self.detector.towards(batch.image, direction, epsilon).sum()))
        return {}

    def finish(self) -> None:
        self.detector.epsilon_.fill_(min(self.total, key=lambda epsilon: (self.total[epsilon], epsilon)))
