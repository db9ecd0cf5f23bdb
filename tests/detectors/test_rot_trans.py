"""RotTrans: its three answers, and its scores by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detector_trials import Training, build
from torch import Tensor

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.self_supervised.rot_trans import RotTrans

SPEC = ImageSpec(1, 32, 32)
SETS = {"all": (36, [3, 3, 4]), "turns": (4, [4]), "shifts": (9, [3, 3])}


def small(transforms: str = "all", spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    detector: Any = build(lambda: RotTrans(spec, transforms=transforms, depth=10, width=1, **parameters))  # type: ignore[arg-type]
    detector.fitted_.fill_(True)
    return detector


@pytest.mark.parametrize("name", SETS)
def test_every_transform_has_its_own_answers(name: str) -> None:
    count, choices = SETS[name]
    detector = small(name)
    answers = detector.answers()
    assert detector.choices == choices
    assert answers.shape == (count, len(choices))
    assert len(answers.unique(dim=0)) == count
    assert answers.amax(0).tolist() == [n - 1 for n in choices]
    assert [part.shape[1] for part in detector.logits(torch.zeros(2, 1, 32, 32), 0)] == choices


def test_an_answer_is_about_its_own_part_of_the_transform() -> None:
    detector, image = small(), torch.rand(1, 1, 32, 32)
    rows, columns, turns = detector.answers().unbind(1)
    for number in range(36):
        steps = (0, 8, -8)
        inner = torch.roll(image, (steps[int(rows[number])], steps[int(columns[number])]), (2, 3))[..., 8:24, 8:24]
        made = torch.rot90(detector.transforms(image, number), -int(turns[number]), (2, 3))[..., 8:24, 8:24]
        assert torch.equal(made, inner), number


@pytest.mark.parametrize("name", SETS)
def test_the_scores_and_the_loss_by_hand(name: str) -> None:
    count, choices = SETS[name]
    detector = small(name, score="probability")
    said = torch.randn((count, sum(choices)), generator=torch.Generator().manual_seed(0))

    def logits(image: Tensor, number: Tensor | int) -> tuple[Tensor, ...]:
        rows = said[number] if isinstance(number, Tensor) else said[number].expand(len(image), -1)
        return rows.split(choices, 1)

    detector.logits = logits
    detector.judged = lambda image, number: (logits(image, number), torch.zeros(len(image), 1, 8, 8))
    right = detector.answers()
    probabilities = [[part[t].softmax(0)[right[t, k]] for k, part in enumerate(said.split(choices, 1))] for t in range(count)]
    table = torch.tensor(probabilities).double()
    scores = detector.score(torch.zeros(2, 1, 32, 32))
    assert scores.image.tolist() == pytest.approx([1 - float(table.mean())] * 2, abs=1e-6)
    assert scores.parts["log"].tolist() == pytest.approx([-float(table.log().mean())] * 2, rel=1e-5)
    losses = detector.losses(torch.zeros(count, 1, 32, 32), torch.arange(count))
    assert losses.tolist() == pytest.approx((-table.log().mean(1)).tolist(), rel=1e-4)


@pytest.mark.parametrize("name", SETS)
def test_the_mean_of_a_map_is_how_far_the_margins_of_the_answers_fall_short(name: str) -> None:
    detector, images = small(name).eval(), torch.rand((2, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(detector.head.bias)
    detector.usual_.fill_(0.25)
    margins = []
    with torch.no_grad():
        for number, right in enumerate(detector.answers().tolist()):
            for logits, own in zip(detector.logits(images, number), right, strict=True):
                rest = logits[:, [k for k in range(logits.shape[1]) if k != own]]
                margins.append(logits[:, own] - (rest.softmax(1) * rest).sum(1))
    heat = detector.score(images).map
    assert torch.allclose(heat.mean((1, 2, 3)), -torch.stack(margins).mean(0) - 0.25, atol=1e-4)


def test_maps_of_training_images_are_zero_on_average() -> None:
    detector, images = small("turns"), torch.rand((9, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    Training(1, batch_size=4).fit(detector, images)
    assert detector.score(images).map.std() > 1e-3
    assert torch.allclose(detector.score(images).map.mean(0), torch.zeros(1, 32, 32), atol=1e-3)


def test_turns_need_squares() -> None:
    with pytest.raises(MedoodError, match="32 x 32 or 64 x 64"):
        small("all", ImageSpec(1, 32, 64))
    assert len(small("shifts", ImageSpec(1, 32, 64)).transforms) == 9
