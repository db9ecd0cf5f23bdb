"""CVAD's networks against the published sizes, its loss and score against their definitions, and its phases in the real trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms, plant
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.adversarial import cvad
from medood.detectors.adversarial.cvad import CVAD
from medood.nets.cascade import Cascaded
from medood.recipe.recipe import Training as Plan
from medood.training.trainer import train

SPEC = ImageSpec(1, 64, 64)
SMALL = {"width": 4, "latent": 8, "branch_width": 8, "generator_epochs": 2, "discriminator_epochs": 2, "learning_rate": 5e-3}


def small(**parameters: Any) -> Any:
    return build(lambda: CVAD(SPEC, **(SMALL | parameters)))


def ready(**parameters: Any) -> Any:
    return Training(2).fit(small(**parameters), phantoms(SPEC, 32, seed=1))


def rebuilt_by(detector: CVAD, images: Tensor) -> Tensor:
    return list(detector.reconstructions(images).values())[-1]


class Memory:
    """Images in memory, as the trainer reads them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, numbers: np.ndarray) -> Tensor:
        return self.images[numbers]


def train_in(folder: Path, detector: CVAD, held_out: Tensor, resume: bool = False) -> CVAD:
    plan, images = Plan(batch_size=8, tensorboard=False), Memory(phantoms(SPEC, 24, seed=1))
    train(detector, images, Memory(held_out), plan, folder, seed=3, device=torch.device("cpu"), resume=resume, progress=False)
    return detector


class Always(nn.Module):
    """Answers the same whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.weight = answer, nn.Parameter(torch.zeros(()))

    def forward(self, asked: Tensor) -> Any:
        return self.answer


def count(module: nn.Module) -> tuple[float, float]:
    """Millions of parameters, in all and in linear layers."""
    linear = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    return sum(p.numel() for p in module.parameters()) / 1e6, sum(p.numel() for layer in linear for p in layer.parameters()) / 1e6


@pytest.mark.parametrize(
    ("parameters", "millions", "linear", "shape"),
    [
        ({}, 26.89, 25.18, (8, 16, 16)),
        ({"branch_latent": "paper"}, 295.39, 293.69, (2048,)),
        ({"branch_latent": "paper", "branch_width": 256}, 429.87, 427.91, (2048,)),
    ],
)
def test_the_generator_has_the_published_size(parameters: Any, millions: float, linear: float, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        detector = CVAD(ImageSpec(1, 256, 256), **parameters)
        image = torch.zeros(2, 1, 256, 256)
        seen = detector.generator(image)
        assert detector.generator.shallow(image).shape == seen.context.shape == (2, 64, 32, 32)
    assert count(detector.generator) == pytest.approx((millions, linear), abs=0.005)
    assert seen.main.mean.shape == (2, 512)
    assert seen.branch.mean.shape == seen.branch.variance.shape == (2, *shape)
    assert seen.coarse.shape == seen.detail.shape == image.shape


@pytest.mark.parametrize(("head", "millions", "linear"), [("code", 9.09, 8.39), ("paper", 0.71, 0.02)])
def test_the_discriminator_has_the_published_size(head: Any, millions: float, linear: float) -> None:
    with torch.device("meta"):
        detector = CVAD(ImageSpec(1, 256, 256), head=head)
        assert detector.discriminator(torch.zeros(2, 1, 256, 256)).shape == (2, 1)
    assert count(detector.discriminator) == pytest.approx((millions, linear), abs=0.005)


@pytest.mark.parametrize(("combine", "pixel"), [("mean", (0.75 + 0.5) / 2), ("logit_sum", 0.75)])
def test_the_score_of_a_case_worked_by_hand(combine: Any, pixel: float) -> None:
    detector: Any = CVAD(SPEC, **(SMALL | {"combine": combine, "kl_weight": 2.0, "score_kl_weight": 0.5}))
    flat = torch.zeros(2, 1, 64, 64)
    main = Normal(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.ones(2, 2))
    branch = Normal(torch.full((2, 8, 4, 4), 2.0), torch.ones(2, 8, 4, 4))
    detector.generator = Always(Cascaded(main, branch, flat, flat + torch.tensor(3.0).log(), flat))  # sigmoids 0.75 and 0.5
    detector.discriminator = Always(torch.tensor([[0.0], [3.0]]).log().clamp(min=-50))
    detector.low_, detector.high_ = torch.tensor(0.1), torch.tensor(0.3)
    detector.fitted_.fill_(True)
    divergences = 0.5 * 1 + 128 * 2.0, 0.5 * 9 + 128 * 2.0
    scores = detector.score(flat)
    generator = [pixel**2 + 0.5 * kl / 4096 for kl in divergences]
    assert scores.parts["generator"].tolist() == pytest.approx(generator, rel=1e-5)
    assert scores.parts["discriminator"].tolist() == pytest.approx([0.0, 0.75])
    expected = [((loss - 0.1) / 0.2 + judged) / 2 for loss, judged in zip(generator, (0.0, 0.75), strict=True)]
    assert scores.parts["combined"].tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(scores.image, scores.parts["combined"])
    assert scores.map.flatten().tolist() == pytest.approx([pixel**2] * 8192)
    loss = [pixel**2 + 2.0 * kl / 4096 for kl in divergences]
    generator_phase = detector.phases()[0]
    assert generator_phase.validate(Batch(flat)).tolist() == pytest.approx(loss, rel=1e-5)
    stepped: list[float] = []
    generator_phase.step(Batch(flat), lambda value, name: stepped.append(value.item()))
    assert stepped == pytest.approx([sum(loss) / 2], rel=1e-5)


@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_a_component_alone_can_be_the_score(kind: str) -> None:
    scores = ready(score=kind).score(phantoms(SPEC, 3, seed=2))
    assert torch.equal(scores.image, scores.parts[kind])
    assert set(scores.parts) == {"generator", "discriminator", "combined"}


def test_a_score_depends_neither_on_the_other_images_nor_on_their_number() -> None:
    detector, images = ready(), phantoms(SPEC, 3, seed=2)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    far = torch.ones(9, 1, 64, 64)
    alone, among = detector.score(images[:1]), detector.score(torch.cat([images, far]))
    for name, value in alone.parts.items():
        assert among.parts[name][:1].numpy() == pytest.approx(value.numpy(), rel=1e-4), name
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_far_outliers_are_not_cut_off() -> None:
    detector, images = ready(), phantoms(SPEC, 1, seed=2)
    near, _ = plant(SPEC, images, "bright", seed=1)
    scores = detector.score(torch.cat([near, torch.ones_like(near)]))
    assert scores.parts["combined"][1] > max(scores.parts["combined"][0], torch.tensor(1.5))


def test_the_branches_show_what_the_reconstruction_is_made_of() -> None:
    images = phantoms(SPEC, 2, seed=2)
    for combine in ("mean", "logit_sum"):
        detector = ready(combine=combine).train()
        before = {name: value.clone() for name, value in detector.state_dict().items()}
        shown = detector.reconstructions(images)
        x2, x1, reconstruction = shown.values()
        logits = (x1 / (1 - x1)).log() + (x2 / (1 - x2)).log()
        expected = (x1 + x2) / 2 if combine == "mean" else 1 / (1 + (-logits).exp())
        assert torch.allclose(reconstruction, expected, atol=1e-5)
        assert torch.allclose((images - reconstruction).square(), detector.score(images).map, atol=1e-6)
        assert detector.training
        assert detector.generator.training
        assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_images_and_reconstructions_are_judged_in_one_batch() -> None:
    detector, images = ready(), phantoms(SPEC, 6, seed=2)
    seen: list[Tensor] = []
    detector.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    phase = detector.phases()[1]
    detector.train()
    phase.begin()
    phase.step(Batch(images), lambda loss, name: None)
    assert len(seen) == 1
    assert torch.equal(seen[0], torch.cat([images, rebuilt_by(detector, images)]))
    assert not seen[0].requires_grad


def test_the_discriminators_loss_is_the_cross_entropy_of_its_probabilities() -> None:
    detector, images = ready(), phantoms(SPEC, 5, seed=2)
    losses = detector.phases()[1].validate(Batch(images))
    with torch.no_grad():
        real, rebuilt = (detector.discriminator(x)[:, 0].sigmoid() for x in (images, rebuilt_by(detector, images)))
    by_hand = binary_cross_entropy(real, torch.zeros(5), reduction="none"), binary_cross_entropy(rebuilt, torch.ones(5), reduction="none")
    assert losses.detach().numpy() == pytest.approx((sum(by_hand) / 2).numpy(), rel=1e-4)


def test_reconstructions_look_more_like_reconstructions_when_scored() -> None:
    detector = ready()
    phase, training, images = detector.phases()[1], Training(1), phantoms(SPEC, 32, seed=1)
    detector.train()
    phase.begin()
    for _ in range(20):
        phase.step(Batch(images), training._update(phase))
    detector.eval()
    unseen = phantoms(SPEC, 16, seed=2)
    rebuilt = rebuilt_by(detector, unseen)
    assert detector.score(unseen).parts["discriminator"].max() < 0.5
    assert detector.score(rebuilt).parts["discriminator"].min() > 0.5


def test_the_discriminators_phase_leaves_the_generator_as_it_is() -> None:
    detector, images = ready(), phantoms(SPEC, 8, seed=2)
    before = {name: value.clone() for name, value in detector.generator.state_dict().items()}
    phase, training = detector.phases()[1], Training(1)
    detector.train()
    phase.begin()
    phase.step(Batch(images), training._update(phase))
    assert all(torch.equal(value, before[name]) for name, value in detector.generator.state_dict().items())


def test_training_draws_both_latent_variables() -> None:
    detector, images = ready().train(), phantoms(SPEC, 2, seed=2)
    with torch.no_grad():
        one, other = detector.generator(images), detector.generator(images)
    assert not torch.equal(one.coarse, other.coarse)
    assert not torch.equal(one.detail, other.detail)


def test_the_scale_is_that_of_the_held_out_images(tmp_path: Path) -> None:
    held_out = phantoms(SPEC, 11, seed=5)
    detector = train_in(tmp_path, small(), held_out)
    losses = detector.score(held_out).parts["generator"].numpy()
    assert [float(detector.low_), float(detector.high_)] == pytest.approx(np.quantile(losses, [0.01, 0.99]), rel=1e-4)
    assert detector.held_out_.numel() == 0


def test_every_validation_collects_the_held_out_images_anew() -> None:
    detector, images = small(), phantoms(SPEC, 7, seed=5)
    phase = detector.phases()[1]
    detector.eval()
    for _ in range(2):
        phase.step(Batch(images), lambda loss, name: None)
        with torch.no_grad():
            losses = [detector.generator_score(*detector.generate(part)[1:]) for part in images.split(4)]
            for part in images.split(4):
                phase.validate(Batch(part))
        assert torch.equal(detector.held_out_, torch.cat(losses))


@pytest.mark.parametrize("number", [0, 1])
def test_with_too_few_held_out_images_the_scale_is_that_of_the_training_images(tmp_path: Path, number: int) -> None:
    detector = train_in(tmp_path, small(), phantoms(SPEC, 11, seed=5)[:number])
    losses = detector.score(phantoms(SPEC, 24, seed=1)).parts["generator"].numpy()
    assert [float(detector.low_), float(detector.high_)] == pytest.approx(np.quantile(losses, [0.01, 0.99]), rel=1e-4)


def test_the_held_out_images_are_remembered_when_training_is_killed_before_the_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = phantoms(SPEC, 11, seed=5)
    whole = train_in(tmp_path / "whole", small(), held_out)

    class Killed(BaseException):
        pass

    def kill(phase: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(cvad._Discriminator, "finish", kill)
        with pytest.raises(Killed):
            train_in(tmp_path / "killed", small(), held_out)
    resumed = train_in(tmp_path / "killed", small(), held_out, resume=True)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_the_discriminator_starts_from_the_generators_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[Tensor] = []
    losses = iter([0.5, 0.1, 0.3])
    at_start: list[Tensor] = []

    def validate(phase: Any, batch: Batch) -> Tensor:
        weights.append(phase.detector.generator.context[0].weight.detach().clone())
        return torch.full((len(batch.image),), next(losses))

    def begin(phase: Any) -> None:
        at_start.append(phase.detector.generator.context[0].weight.detach().clone())
        phase.detector.generator.eval()

    monkeypatch.setattr(cvad._Generator, "validate", validate)
    monkeypatch.setattr(cvad._Discriminator, "begin", begin)
    train_in(tmp_path, small(generator_epochs=3), phantoms(SPEC, 8, seed=5))
    assert torch.equal(at_start[0], weights[1])
    assert not torch.equal(at_start[0], weights[2])


def test_normal_images_that_are_all_the_same_have_no_scale() -> None:
    with pytest.raises(TrainingError, match="different images"):
        Training(1).fit(small(), torch.full((8, 1, 64, 64), 0.5))


@pytest.mark.parametrize(
    ("spec", "words"), [(ImageSpec(1, 64, 64, -1.0, 1.0), "range: \\[0, 1\\]"), (ImageSpec(1, 48, 64), "multiples of 32")]
)
def test_specs_that_do_not_fit_are_refused(spec: ImageSpec, words: str) -> None:
    with pytest.raises(MedoodError, match=words):
        CVAD(spec)
