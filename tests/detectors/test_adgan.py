"""ADGAN's search: all images and starts at once against each by itself, with and without copies of the generator."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor
from torch.optim import Adam

from medood.core.detector import ImageSpec
from medood.detectors.adversarial import adgan
from medood.detectors.adversarial.adgan import ADGAN
from medood.nets.images.signed import signed

SPEC = ImageSpec(1, 16, 16, 0.0, 1.0, background=0.0)


def small(**parameters: Any) -> ADGAN:
    return build(lambda: ADGAN(SPEC, **{"latent": 8, "width": 4, "starts": 3, **parameters}))


def one_by_one(detector: ADGAN, image: Tensor, start: Tensor) -> Tensor:
    """(C, H, W): the search as its paper has it, for one image from one start with optimizers of its own."""
    generator, code = deepcopy(detector.generator).eval(), start.clone()[None].requires_grad_()
    optimizers = [Adam([code], detector.search_rate, (0.5, 0.999))]
    if detector.tune_generator:
        optimizers.append(Adam(generator.parameters(), detector.tune_rate, (0.5, 0.999)))
    for _ in range(detector.steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        (generator(code)[0] - image).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
    return generator(code)[0].detach()


@pytest.mark.parametrize("tune_generator", [False, True])
@pytest.mark.parametrize("at_once", [2**27, 1])
def test_all_searches_at_once_end_where_each_by_itself_would(tune_generator: bool, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adgan, "_COPIES", at_once)
    detector = Training(1).fit(small(tune_generator=tune_generator, tune_rate=1e-2), phantoms(SPEC, 32, seed=1))
    images = phantoms(SPEC, 2, seed=2)
    before = deepcopy(detector.state_dict())
    seen = signed(images, SPEC)
    found = torch.stack([torch.stack([one_by_one(detector, image, start) for start in detector.starts_]) for image in seen])
    scores = detector.score(images)
    errors = (found - seen[:, None]).square().mean((2, 3, 4))
    assert torch.allclose(scores.image, errors.mean(1), rtol=1e-3)
    assert torch.allclose(scores.parts["best"], errors.amin(1), rtol=1e-3)
    assert torch.allclose(scores.map, ((found - seen[:, None]).abs() / 2).mean((1, 2))[:, None], atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_the_search_comes_closer_with_every_step_and_copies_come_closer_still() -> None:
    images = phantoms(SPEC, 4, seed=2)
    reached = {}
    for steps, tune_generator in ((1, False), (20, False), (20, True)):
        detector = small(steps=steps, search_rate=0.05, tune_generator=tune_generator, tune_rate=1e-3).mark_fitted()
        reached[steps, tune_generator] = detector.score(images).image
    assert bool((reached[20, False] < reached[1, False]).all())
    assert bool((reached[20, True] < reached[20, False]).all())


def test_an_image_that_the_generator_can_draw_scores_near_zero() -> None:
    detector = small(search_rate=1e-6, steps=1).mark_fitted()
    with torch.no_grad():
        drawn = detector.generator(detector.starts_[1:2])
    assert float(detector.score((drawn + 1) / 2).parts["best"]) < 1e-8
    assert float(detector.score(phantoms(SPEC, 1, seed=1)).parts["best"]) > 1e-2


def test_starts_follow_from_their_seed_and_nothing_else() -> None:
    torch.manual_seed(5)
    one = small(seed=3).starts_
    assert torch.equal(one, small(seed=3).starts_)
    assert not torch.equal(one, small(seed=4).starts_)


def test_the_critic_judges_each_image_by_itself_and_is_trained_twice_as_often() -> None:
    detector = small().train()
    images = signed(phantoms(SPEC, 4, seed=1), SPEC)
    assert torch.allclose(detector.critic(images)[:1], detector.critic(images[:1]), atol=1e-5)
    training = Training(1, batch_size=4)
    training.fit(detector, phantoms(SPEC, 24, seed=1))
    assert ["generator" in losses for losses in training.losses] == [False, True] * 3
