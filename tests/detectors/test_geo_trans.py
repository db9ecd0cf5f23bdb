"""GeoTrans: its scores by hand, what it fits, when it falls back, and how little it holds at a time."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.self_supervised.geo_trans import GeoTrans

SPEC = ImageSpec(1, 32, 32)


def small(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    return build(lambda: GeoTrans(spec, **({"width": 1, "transforms": "turns"} | parameters)))


def says(detector: Any, answers: Tensor) -> Any:
    """A detector whose classifier says answers (N, T, T) of image i, whose only value is i / 100, under transform t."""

    def logits(image: Tensor, number: Tensor | int) -> Tensor:
        return answers[(100 * image[:, 0, 0, 0]).round().long(), number]

    detector.logits = logits
    detector.judged = lambda image, number: (logits(image, number), torch.zeros(len(image), 1, 8, 8))
    detector.fitted_.fill_(True)
    return detector


def numbered(count: int) -> Tensor:
    return (torch.arange(count) / 100)[:, None, None, None].expand(-1, 1, 32, 32).contiguous()


def random_answers(count: int, sets: int = 8) -> Tensor:
    return torch.randn((count, sets, sets), generator=torch.Generator().manual_seed(0)).double() + 3 * torch.eye(sets)


def test_the_scores_by_hand() -> None:
    answers = random_answers(4)
    detector = says(small(), answers)
    detector.alpha_.copy_(torch.rand((8, 8), generator=torch.Generator().manual_seed(1)) * 5)
    scores = detector.score(numbered(4))
    for i in range(4):
        probabilities = answers[i].softmax(1)
        dirichlet = sum(((detector.alpha_[t].double() - 1) * probabilities[t].log()).sum() for t in range(8)) / 8
        assert scores.image[i].item() == pytest.approx(-float(dirichlet), rel=1e-5)
        assert scores.parts["simplified"][i].item() == pytest.approx(1 - float(probabilities.diag().mean()), abs=1e-6)
    assert torch.equal(scores.image, scores.parts["dirichlet"])
    detector.score_by = "simplified"
    assert torch.equal(detector.score(numbered(4)).image, scores.parts["simplified"])


def test_every_transform_has_the_distribution_of_its_own_answers() -> None:
    answers = random_answers(60)
    detector = says(small(), answers)
    phase = detector.phases()[1]
    phase.begin()
    for part in numbered(60).split(7):
        phase.step(Batch(part), phase.update)
    phase.finish()
    logs = answers.log_softmax(2)
    for t in range(8):
        alpha = detector.alpha_[t].double()
        gradient = torch.digamma(alpha.sum()) - torch.digamma(alpha) + logs[:, t].mean(0)  # 0 where the likelihood is greatest
        assert gradient.abs().max() < 1e-5
    assert not detector.same_.any()


def test_a_classifier_that_is_always_as_sure_falls_back_and_says_so() -> None:
    answers = random_answers(20)
    answers[:, :3] = 1e4 * torch.eye(8).double()[:3]
    detector = says(small(), answers)
    phase = detector.phases()[1]
    phase.begin()
    phase.step(Batch(numbered(20)), phase.update)
    with pytest.warns(UserWarning, match="same probabilities, as far as numbers tell, under 3 of 8 transforms"):
        phase.finish()
    assert detector.same_.tolist() == [True] * 3 + [False] * 5
    unsure = torch.cat([answers[:1], answers[:1]])
    unsure[1, :3] = 0  # gives every transform the same chance
    first, second = says(detector, unsure).score(numbered(2)).image.tolist()
    assert second - first == pytest.approx(3 * (1 - 1 / 8) / 8, rel=1e-3)


def test_with_as_much_as_a_doubt_there_is_no_warning() -> None:
    detector = says(small(), random_answers(20))
    phase = detector.phases()[1]
    phase.begin()
    phase.step(Batch(numbered(20)), phase.update)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        phase.finish()


@pytest.mark.parametrize(("transforms", "count"), [("all", 72), ("turns", 8), ("shifts", 9)])
def test_no_more_than_a_batch_is_ever_held(transforms: str, count: int) -> None:
    detector, seen = small(transforms=transforms), []
    assert len(detector.transforms) == count
    detector.network.blocks.register_forward_hook(lambda module, given, result: seen.append(len(result)))
    Training(1, batch_size=4).fit(detector, phantoms(SPEC, 8, seed=1))
    assert max(seen) == 4
    assert len(seen) == 2 + 2 * count  # one transform in a pass of training, all of them for the distributions
    detector.score(phantoms(SPEC, 3, seed=2))
    assert seen[2 + 2 * count :] == [3] * count


def test_training_shows_images_under_all_transforms() -> None:
    detector, seen = small(), []
    detector.losses = lambda batch, number: seen.append(number) or detector.head.bias.sum().expand(len(number))
    phase = detector.phases()[0]
    for _ in range(40):
        phase.step(Batch(numbered(8)), phase.update)
    counts = torch.cat(seen).bincount(minlength=8)
    assert counts.min() > 0.4 * counts.sum() / 8


def test_adam_is_that_of_the_authors() -> None:
    (group,) = small().phases()[0].optimizers["classifier"].param_groups
    assert (group["lr"], group["eps"], group["weight_decay"]) == (1e-3, 1e-7, 5e-4)
    assert len(group["params"]) == len(list(small().parameters()))


def test_distributions_are_fitted_on_held_out_images_if_asked() -> None:
    assert small().phases()[1].held_out == 0
    assert small(fitted_on="held_out").phases()[1].held_out > 1


def test_images_that_are_not_square_are_for_shifts_alone() -> None:
    wide = ImageSpec(1, 32, 64)
    with pytest.raises(MedoodError, match=r"square images .* such as 32 x 32 or 64 x 64, found 32 x 64: set `size` in the transforms file"):
        small(wide)
    with pytest.raises(MedoodError, match="`transforms: shifts`"):
        small(wide, transforms="all")
    assert small(wide, transforms="shifts").transforms.places.shape == (9, 32 * 64)


def test_what_the_classifier_sees_is_scaled_to_minus_one_to_one() -> None:
    detector, seen = small(ImageSpec(1, 32, 32, 0.0, 255.0)), []
    detector.network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    detector.logits(torch.tensor([0.0, 255.0]).expand(1, 1, 32, 16, 2).reshape(1, 1, 32, 32), 0)
    assert seen[0].unique().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("transforms", ["all", "turns"])
def test_images_are_made_normal_by_what_all_transforms_say(transforms: str) -> None:
    detector = small(transforms=transforms)
    used: set[int] = set()

    def logits(image: Tensor, number: int) -> Tensor:
        used.add(number)
        mask = torch.nn.functional.one_hot(torch.tensor(number), len(detector.transforms))
        return image.mean((1, 2, 3))[:, None] * 5 * mask  # the brighter, the surer

    detector.logits = logits
    detector.fitted_.fill_(True)
    image = torch.full((2, 1, 32, 32), 0.25)
    made = detector.made_normal(image)
    assert (made > 0.9).all()
    assert used == set(range(len(detector.transforms)))
    assert not made.requires_grad


class _Cells(torch.nn.Module):
    """A network that sees the brightness of each place of 4 x 4 pixels, 0..1, and nothing else."""

    def forward(self, image: Tensor) -> Tensor:
        return (torch.nn.functional.avg_pool2d(image, 4) + 1) / 2


def sees_brightness(transforms: str) -> Any:
    """GeoTrans that holds bright images for images under its first transform, whatever they are under, and knows that by heart."""
    detector = small(transforms=transforms)
    detector.network.blocks, detector.network.features = _Cells(), 1
    detector.head = torch.nn.Linear(1, len(detector.transforms))
    torch.nn.init.zeros_(detector.head.weight)
    detector.head.weight.data[0] = 10.0
    detector.fitted_.fill_(True)
    return detector


@pytest.mark.parametrize("transforms", ["all", "turns", "shifts"])
def test_the_map_shows_what_speaks_against_the_right_transforms(transforms: str) -> None:
    """What is bright misleads under every transform but the first, under which it is right: a map that is known in closed form."""
    detector = sees_brightness(transforms)
    torch.nn.init.zeros_(detector.head.bias)
    count = len(detector.transforms)
    for row, column in ((1, 1), (0, 7), (4, 3), (7, 0)):
        image = torch.zeros(1, 1, 32, 32)
        image[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1.0
        bright = torch.nn.functional.avg_pool2d(image, 4)
        expected = torch.zeros(1, 1, 8, 8)
        for number in range(count):
            seen = detector.transforms(image, number)
            logit = 10 * float(seen.mean())
            others = torch.tensor(0.0 if number == 0 else logit - math.log(math.exp(logit) + count - 2)).exp()  # of the first one
            weight = -10.0 if number == 0 else 10 * float(others)
            places = detector.transforms.back(seen, number)
            expected += weight * torch.nn.functional.avg_pool2d(places, 4) / count
        heat = detector.score(image).map
        assert torch.allclose(heat, torch.nn.functional.interpolate(expected, scale_factor=4, mode="bilinear"), atol=1e-4)
        assert heat[0, 0, 4 * row + 2, 4 * column + 2] > 0
        assert expected[bright == 0].abs().max() == 0


@pytest.mark.parametrize("transforms", ["all", "turns", "shifts"])
def test_the_mean_of_a_map_is_how_far_the_margins_fall_short(transforms: str) -> None:
    detector = small(ImageSpec(1, 64, 64), transforms=transforms).mark_fitted()
    images = phantoms(ImageSpec(1, 64, 64), 3, seed=1)
    torch.nn.init.normal_(detector.head.bias)
    detector.usual_.copy_(torch.rand(detector.usual_.shape, generator=torch.Generator().manual_seed(0)))
    margins = []
    with torch.no_grad():
        for number in range(len(detector.transforms)):
            logits = detector.logits(images, number)
            rest = logits[:, [k for k in range(len(detector.transforms)) if k != number]]
            margins.append(logits[:, number] - (rest.softmax(1) * rest).sum(1))
    heat = detector.score(images).map
    assert heat.shape == (3, 1, 64, 64)
    assert torch.allclose(heat.mean((1, 2, 3)), -torch.stack(margins).mean(0) - detector.usual_.mean(), atol=1e-3)


@pytest.mark.parametrize("fitted_on", ["training", "held_out"])
def test_each_place_is_compared_with_the_same_place_of_normal_images(fitted_on: str) -> None:
    detector, images, held_out = small(fitted_on=fitted_on), phantoms(SPEC, 10, seed=1), phantoms(SPEC, 13, seed=2)
    Training(1, batch_size=4).fit(detector, images, held_out)
    fitted, other = (images, held_out) if fitted_on == "training" else (held_out, images)
    assert torch.allclose(detector.score(fitted).map.mean(0), torch.zeros(1, 32, 32), atol=1e-3)
    assert detector.score(other).map.mean(0).abs().max() > 0.01


def test_a_second_head_tells_the_classes_that_are_known() -> None:
    detector, images = small(classes=3), phantoms(SPEC, 4, seed=1)
    number, classes = torch.tensor([0, 5, 2, 7]), torch.tensor([0, 2, -1, 1])
    detector.eval()
    plain = torch.nn.functional.cross_entropy(detector.logits(images, number), number, reduction="none")
    said = detector.class_head(detector.network(2 * detector.transforms(images, number) - 1)).log_softmax(1)
    expected = plain - torch.stack([said[0, 0], said[1, 2], torch.tensor(0.0), said[3, 1]])
    assert torch.allclose(detector.losses(Batch(images, classes=classes), number), expected, atol=1e-5)


def test_classes_that_do_not_fit_are_refused_in_a_sentence() -> None:
    with pytest.raises(MedoodError, match="two classes or more"):
        small(classes=1)
    phase = small(classes=2).phases()[0]
    assert (phase.classes, small().phases()[0].classes) == (2, 0)
    with pytest.raises(TrainingError, match="No image has a class"):
        phase.step(Batch(numbered(2)), phase.update)


def test_the_class_head_learns_and_scoring_leaves_it_alone() -> None:
    detector, images = small(classes=2, optimizer="sgd", learning_rate=0.01), phantoms(SPEC, 4, seed=1)
    before = detector.class_head.weight.clone()
    phase = detector.phases()[0]
    phase.step(Batch(images, classes=torch.tensor([0, 1, 0, 1])), phase.update)
    assert not torch.equal(before, detector.class_head.weight)
    detector.fitted_.fill_(True)
    scores = detector.score(images).image
    detector.class_head.weight.data.fill_(7.0)
    assert torch.equal(detector.score(images).image, scores)
