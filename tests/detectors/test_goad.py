"""GOAD: its loss, its probabilities and its centres against brute force."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms

from medood.core.detector import Batch, ImageSpec
from medood.detectors.self_supervised.goad import Goad, squared_distances, surprise, too_far

SPEC = ImageSpec(1, 32, 32)


def small(**parameters: Any) -> Any:
    return build(lambda: Goad(SPEC, **({"width": 1, "transforms": "turns"} | parameters)))


def test_only_what_is_not_far_enough_from_the_nearest_other_centre_counts() -> None:
    random = torch.Generator().manual_seed(0)
    features, centres = torch.randn((12, 5), generator=random), torch.randn((4, 5), generator=random)
    right = torch.arange(4).repeat(3)
    expected = []
    for z, own in zip(features, right.tolist(), strict=True):
        distances = [float((z - c).square().sum()) for c in centres]
        expected.append(max(0.0, distances[own] + 2.0 - min(d for k, d in enumerate(distances) if k != own)))
    assert too_far(features, centres, right, 2.0).mean().item() == pytest.approx(sum(expected) / 12, rel=1e-5)
    assert bool((too_far(100 * centres, 100 * centres, torch.arange(4), 2.0) == 0).all())


def test_probabilities_by_the_formula_of_the_paper() -> None:
    distances, right = torch.tensor([[0.0, 1.0, 4.0], [2.0, 0.5, 9.0]]), torch.tensor([0, 2])
    for smoothing in (0.0, 0.1):
        likelihoods = (-distances.double()).exp() + smoothing
        expected = -(likelihoods / likelihoods.sum(1, keepdim=True)).log()[[0, 1], right]
        assert torch.allclose(surprise(distances, right, smoothing), expected)
    far = torch.tensor([[3e4, 2e4, 1e4]])
    assert surprise(far, torch.tensor([0]), 0.0).tolist() == [2e4]
    assert surprise(far, torch.tensor([0]), 0.1).item() == pytest.approx(math.log(3))


def test_probabilities_next_to_one_are_told_apart() -> None:
    distances = torch.tensor([[0.0, 50.0, 60.0], [0.0, 51.0, 60.0]])
    found = surprise(distances, torch.tensor([0, 0]), 0.0)
    assert found.tolist() == pytest.approx([math.exp(-50) + math.exp(-60), math.exp(-51) + math.exp(-60)], rel=1e-9)
    assert found.float()[0] > found.float()[1] > 0


def test_distances_do_not_lose_their_digits_far_from_zero() -> None:
    features, centres = torch.full((1, 4), 1000.0), torch.full((2, 4), 1000.0)
    centres[1] += 0.25
    assert squared_distances(features, centres).tolist() == [[0.0, 0.25]]


def test_centres_are_means_over_all_images_of_the_finished_network() -> None:
    detector, images = small(), phantoms(SPEC, 10, seed=1)
    Training(1, batch_size=4).fit(detector, images)
    with torch.no_grad():
        expected = torch.stack([detector.features(images, number).mean(0) for number in range(8)])
    assert torch.allclose(detector.centres_, expected, atol=1e-5)
    with torch.no_grad():
        logs = [(-squared_distances(detector.features(images, t), expected)).log_softmax(1)[:, t] for t in range(8)]
    assert torch.allclose(detector.score(images).image, -torch.stack(logs).mean(0), atol=1e-4)


@pytest.mark.parametrize(("count", "steps"), [(8, 2), (9, 3), (3, 1), (1, 1)])
def test_a_few_images_are_drawn_together_at_a_time(count: int, steps: int) -> None:
    detector, sizes = small(), []
    detector.network.register_forward_hook(lambda module, given, result: sizes.append(len(result)))
    before = detector.head.weight.clone()
    phase = detector.phases()[0]
    phase.step(Batch(phantoms(SPEC, count, seed=1)), phase.update)
    assert len(sizes) == steps
    assert sum(sizes) == 8 * count
    assert max(sizes) <= 4 * 8
    assert not torch.equal(before, detector.head.weight)


def test_the_parts_of_the_loss_have_their_weights() -> None:
    images = phantoms(SPEC, 4, seed=1)
    plain, shrunk = small(closeness=0.0, shrinkage=0.0).eval(), small(closeness=0.0, shrinkage=10.0).eval()
    features = torch.cat([plain.features(images, t) for t in range(8)])
    assert (shrunk.loss(images) - plain.loss(images)).item() == pytest.approx(10 * features.square().mean().item(), rel=1e-4)
    drawn = small(closeness=0.5, shrinkage=0.0, margin=3.0).eval()
    by_transform = features.view(8, 4, -1)
    far = too_far(features, by_transform.mean(1), torch.arange(8).repeat_interleave(4), 3.0).mean()
    assert (drawn.loss(images) - plain.loss(images)).item() == pytest.approx(0.5 * far.item(), rel=1e-4)


def test_the_mean_of_a_map_is_how_far_the_gaps_between_centres_fall_short() -> None:
    detector, images = small(), phantoms(SPEC, 9, seed=1)
    Training(1, batch_size=4).fit(detector, images)
    others = phantoms(SPEC, 3, seed=2).flip(3)
    gaps = []
    with torch.no_grad():
        for number in range(8):
            distances = squared_distances(detector.features(others, number), detector.centres_)
            rest = distances[:, [k for k in range(8) if k != number]]
            gaps.append(((-rest).softmax(1) * rest).sum(1) - distances[:, number])
    heat = detector.score(others).map
    assert torch.allclose(heat.mean((1, 2, 3)), -torch.stack(gaps).mean(0) - detector.usual_.mean(), atol=1e-4)
    assert torch.allclose(detector.score(images).map.mean(0), torch.zeros(1, 32, 32), atol=1e-4)
