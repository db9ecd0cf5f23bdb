"""The guard of a classifier: its scores by their formulas, and classifiers of which everything is known."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.classification.classifier_guard import ClassifierGuard
from medood.detectors.classification.confidence import Classes, energy_score, softmax_score, tempered_score

SPEC = ImageSpec(1, 4, 4, 0.0, 2.0)


def logits(count: int = 20, classes: int = 4, scale: float = 3.0) -> Tensor:
    return scale * torch.randn((count, classes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_scores_are_those_of_their_papers() -> None:
    given = logits()
    highest = given.softmax(1).amax(1)
    assert torch.allclose(softmax_score(given), ((1 - highest) / highest).log())
    assert torch.allclose(energy_score(given), -given.exp().sum(1).log())
    for temperature in (1.0, 10.0, 1000.0):
        expected = -temperature * (4 * (given / temperature).softmax(1).amax(1)).log()
        assert torch.allclose(tempered_score(given, temperature), expected, atol=1e-6)
    assert torch.allclose(tempered_score(given, 1e6), given.mean(1) - given.amax(1), atol=1e-3)


def test_logarithms_of_probabilities_are_told_from_logits_and_score_as_they_would(tmp_path: Path) -> None:
    path = saved(nn.Sequential(Linear(), nn.LogSoftmax(1)), tmp_path)
    with pytest.raises(TrainingError, match="with logarithms of probabilities, not logits: set `outputs: log_probabilities`"):
        fitted(ClassifierGuard(SPEC, classifier=path))
    scores = fitted(ClassifierGuard(SPEC, classifier=path, outputs="log_probabilities", score="softmax")).score(images(5, seed=2))
    assert "energy" not in scores.parts
    with torch.no_grad():
        assert torch.allclose(scores.image, softmax_score(Linear()(images(5, seed=2))), atol=1e-4)


def test_answers_that_are_not_what_the_recipe_says_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="answers with logits, not probabilities: set `outputs: logits`"):
        fitted(ClassifierGuard(SPEC, classifier=saved(Linear(), tmp_path), outputs="probabilities", score="softmax"))
    path = saved(nn.Sequential(Linear(), nn.Sigmoid()), tmp_path)
    with pytest.raises(TrainingError, match="findings that do not exclude each other"):
        fitted(ClassifierGuard(SPEC, classifier=path))


def test_a_saturated_classifier_still_ranks() -> None:
    """In single precision all of these probabilities are 1."""
    given = torch.tensor([[0.0, -50.0], [0.0, -900.0], [4000.0, 0.0]], dtype=torch.float64)
    assert bool((given.float().softmax(1).amax(1) == 1).all())
    for found in (softmax_score(given), tempered_score(given, 1000.0)):
        assert bool(found.isfinite().all())
        assert bool((found.diff() < 0).all())


def test_the_nearest_class_is_that_of_scikit_learns_covariance() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 60)
    rows = random.normal(size=(60, 5)) * [1, 2, 3, 0.1, 1] + classes[:, None]
    found = Classes.of(torch.from_numpy(rows), torch.from_numpy(classes), 4)  # the fourth has no image
    means = np.stack([rows[classes == number].mean(0) for number in range(3)])
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(rows - means[classes]).covariance_)
    test = random.normal(size=(7, 5)) * 4
    expected = [min(mahalanobis(row, mean, precision) ** 2 for mean in means) for row in test]
    assert found.score(torch.from_numpy(test)).numpy() == pytest.approx(expected)


def test_fewer_images_than_features_are_no_obstacle() -> None:
    rows = torch.randn((6, 40), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    known = Classes.of(rows, torch.tensor([0, 0, 0, 1, 1, 1]), 2)
    assert bool(known.score(torch.randn((3, 40), dtype=torch.float64)).isfinite().all())


class Linear(nn.Module):
    """Two classes by a weight for each pixel."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.last = nn.Linear(16, 2, bias=False)
        with torch.no_grad():
            self.last.weight.copy_(scale * torch.randn((2, 16), generator=torch.Generator().manual_seed(1)))

    def forward(self, image: Tensor) -> Tensor:
        return self.last(image.flatten(1))


def saved(network: nn.Module, folder: Path) -> str:
    path = folder / "it.pt2"
    dynamic = ({0: torch.export.Dim("batch", min=1, max=512)},)
    torch.export.save(torch.export.export(network.eval(), (torch.zeros(2, *SPEC.shape),), dynamic_shapes=dynamic), path)
    return str(path)


def images(count: int = 40, seed: int = 0) -> Tensor:
    return 2 * torch.rand((count, *SPEC.shape), generator=torch.Generator().manual_seed(seed))


def fitted(detector: ClassifierGuard, given: Tensor | None = None, held_out: Tensor | None = None) -> ClassifierGuard:
    given = images() if given is None else given
    for phase in detector.eval().phases():
        with torch.no_grad():
            phase.begin()
            phase.step(Batch(given if not phase.held_out or held_out is None else held_out), phase.update)
            phase.finish()
    return detector.mark_fitted()


def test_the_step_of_odin_makes_the_image_more_certain_and_its_size_is_a_share_of_the_range(tmp_path: Path) -> None:
    network = Linear()
    detector = fitted(ClassifierGuard(SPEC, classifier=saved(network, tmp_path), score="odin", epsilons=(0.0, 0.01)))
    test = images(10, seed=3)
    with torch.no_grad():
        answers = network(test)
        best = answers.argmax(1)
        apart = network.last.weight[best] - network.last.weight[1 - best]
        moved = network(test + 0.01 * 2.0 * apart.sign().view(-1, 1, 4, 4))  # of a range of 2
    assert float(detector.epsilon_) == pytest.approx(0.01)  # of two classes with weights, the larger step is the surer one
    assert detector.score(test).image.numpy() == pytest.approx(tempered_score(moved.double(), 1000.0).numpy(), abs=1e-4)
    assert bool((tempered_score(moved.double(), 1000.0) < tempered_score(answers.double(), 1000.0)).all())


def test_the_step_is_the_one_after_which_held_out_images_are_the_most_certain(tmp_path: Path) -> None:
    class Bump(nn.Module):
        """Surest of class 0 where the mean is 1, so that a step past it makes less certain."""

        def forward(self, image: Tensor) -> Tensor:
            mean = image.mean((1, 2, 3))
            return torch.stack([1 - (mean - 1).square(), 0 * mean], 1)

    steps = (0.0, 0.05, 0.1, 0.2, 0.4)
    detector = ClassifierGuard(SPEC, classifier=saved(Bump(), tmp_path), epsilons=steps)
    _, phase = detector.phases()
    assert phase.held_out >= 1
    held_out = torch.full((3, *SPEC.shape), 0.8)  # 0.2, a tenth of the range, below the surest
    with torch.no_grad():
        phase.begin()
        phase.step(Batch(held_out), phase.update)
        phase.finish()
    assert float(detector.epsilon_) == pytest.approx(0.1)


def test_which_score_counts_is_a_choice_among_the_parts(tmp_path: Path) -> None:
    path, test = saved(Linear(), tmp_path), images(5, seed=2)
    for name in ("softmax", "energy", "odin", "mahalanobis"):
        scores = fitted(ClassifierGuard(SPEC, classifier=path, score=name)).score(test)
        assert set(scores.parts) == {"softmax", "energy", "odin", "mahalanobis"}
        assert torch.equal(scores.image, scores.parts[name])
    with torch.no_grad():
        assert torch.allclose(scores.parts["energy"], -Linear()(test).logsumexp(1), atol=1e-5)


def test_probabilities_are_told_from_logits(tmp_path: Path) -> None:
    path = saved(nn.Sequential(Linear(), nn.Softmax(1)), tmp_path)
    with pytest.raises(TrainingError, match="set `outputs: probabilities`"):
        fitted(ClassifierGuard(SPEC, classifier=path))
    with pytest.raises(MedoodError, match='do not tell the "energy"'):
        ClassifierGuard(SPEC, classifier=path, outputs="probabilities")
    scores = fitted(ClassifierGuard(SPEC, classifier=path, outputs="probabilities", score="softmax")).score(images(5, seed=2))
    assert "energy" not in scores.parts
    with torch.no_grad():
        assert torch.allclose(scores.image, softmax_score(Linear()(images(5, seed=2))), atol=1e-4)


def test_a_saturated_classifier_is_pointed_out(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"saturated: of \d+ % of the normal images"):
        detector = fitted(ClassifierGuard(SPEC, classifier=saved(Linear(1000.0), tmp_path), score="softmax"))
    scores = detector.score(images(20, seed=2)).image
    assert bool(scores.isfinite().all())
    assert len(scores.unique()) == 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(ClassifierGuard(SPEC, classifier=saved(Linear(), tmp_path)))


def test_training_images_of_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="All 4 training images are of one class to the classifier"):
        fitted(ClassifierGuard(SPEC, classifier=saved(Linear(), tmp_path)), images(1).expand(4, -1, -1, -1))


OWN = ImageSpec(1, 16, 16, 0.0, 1.0)


def learnt(named: Tensor | None, **parameters: Any) -> None:
    detector = ClassifierGuard(OWN, **{"classes": 2, "width": 4, **parameters})
    random = torch.Generator().manual_seed(0)
    given = Batch(torch.rand((6, *OWN.shape), generator=random), classes=named)
    for phase in detector.phases():
        with torch.no_grad():
            phase.begin()
        detector.train(bool(phase.optimizers))
        with torch.set_grad_enabled(bool(phase.optimizers)):
            phase.step(given, phase.update)
        with torch.no_grad():
            phase.finish()


def test_classes_that_do_not_fit_are_one_sentence() -> None:
    learnt(torch.tensor([0, 1, 0, 1, -1, -1]))
    assert ClassifierGuard(OWN, classes=3, width=4).phases()[0].classes == 3
    with pytest.raises(TrainingError, match="No image has a class: give the source a table with a column `class`"):
        learnt(None)
    with pytest.raises(MedoodError, match="nothing to choose from"):
        ClassifierGuard(OWN, classes=1)
    for both in ({}, {"classifier": "it.onnx", "classes": 2}):
        with pytest.raises(MedoodError, match="give one of the two"):
            ClassifierGuard(OWN, **both)


def test_held_out_images_of_an_unknown_class_do_not_count_in_the_choice_of_the_epoch() -> None:
    phase = ClassifierGuard(OWN, classes=2, width=4).eval().phases()[0]
    with torch.no_grad():
        found = phase.validate(Batch(torch.rand((4, *OWN.shape)), classes=torch.tensor([0, -1, 1, -1])))
    assert found.tolist()[1::2] == [0.0, 0.0]
    assert bool((found[::2] > 0).all())
