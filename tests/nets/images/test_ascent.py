"""Gradient ascent of images."""

from __future__ import annotations

import torch
from torch import Tensor

from medood.nets.images.ascent import ascend


def test_images_go_towards_the_objective_each_by_itself() -> None:
    target = torch.rand((2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    start = torch.full_like(target, 0.5)

    def near(image: Tensor, step: int) -> Tensor:
        goal = target if len(image) == 2 else target[:1]
        return -(image - goal).square().mean((1, 2, 3))

    made = ascend(start, near, 0.0, 1.0)
    assert ((made - target).square().mean((1, 2, 3)) < 0.02 * (start - target).square().mean((1, 2, 3))).all()
    assert torch.allclose(ascend(start[:1], near, 0.0, 1.0), made[:1], atol=1e-5)
    assert (start == 0.5).all()


def test_steps_have_their_size_and_stay_in_the_range() -> None:
    start = torch.full((1, 1, 4, 4), 10.0)
    made = ascend(start, lambda image, step: 1e-9 * image.sum((1, 2, 3)), 0.0, 20.0, steps=3, rate=0.1)
    assert torch.allclose(made, torch.full_like(made, 16.0))
    assert (ascend(start, lambda image, step: image.sum((1, 2, 3)), 0.0, 20.0, steps=30, rate=0.1) == 20).all()


def test_without_a_gradient_an_image_stays() -> None:
    start = torch.rand(1, 1, 4, 4)
    assert torch.equal(ascend(start, lambda image, step: 0 * image.sum((1, 2, 3)), 0.0, 1.0), start)


def test_the_objective_knows_the_step() -> None:
    steps: list[int] = []
    ascend(torch.zeros(1, 1, 2, 2), lambda image, step: (steps.append(step), image.sum((1, 2, 3)))[1], 0.0, 1.0, steps=4)
    assert steps == [0, 1, 2, 3]
