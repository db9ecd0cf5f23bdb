"""CSI: its contrastive loss by brute force, its shifts, and its score by hand."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.self_supervised.csi import Csi, contrastive_loss

SPEC = ImageSpec(1, 32, 32)


def small(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    return build(lambda: Csi(spec, **({"width": 2, "views": 2, "shifts": "cutperm", "learning_rate": 0.01} | parameters)))


def test_every_code_is_to_be_nearest_to_the_other_view_of_its_image() -> None:
    one, other = torch.randn((2, 5, 7), generator=torch.Generator().manual_seed(0))
    codes = [*one, *other]
    losses = []
    for i in range(10):
        similar = [float(torch.cosine_similarity(codes[i], codes[j], dim=0)) / 0.3 for j in range(10)]
        others = sum(math.exp(value) for j, value in enumerate(similar) if j != i)
        losses.append(math.log(others) - similar[(i + 5) % 10])
    assert contrastive_loss(one, other, 0.3).item() == pytest.approx(sum(losses) / 10, rel=1e-5)


def test_swapped_halves() -> None:
    detector, image = small(), torch.rand(1, 1, 32, 32)
    top, bottom = image[..., :16, :], image[..., 16:, :]
    assert torch.equal(detector.shifted(image, 0), image)
    assert torch.equal(detector.shifted(image, 1), torch.cat([bottom, top], 2))
    assert torch.equal(detector.shifted(image, 2), torch.cat([image[..., 16:], image[..., :16]], 3))
    assert torch.equal(detector.shifted(image, 3), detector.shifted(detector.shifted(image, 1), 2))


def test_turns() -> None:
    detector, image = small(shifts="turns"), torch.rand(1, 1, 32, 32)
    for number in range(4):
        assert torch.equal(detector.shifted(image, number), torch.rot90(image, number, (2, 3)))


def test_all_shifts_of_both_views_are_told_apart_and_contrasted() -> None:
    detector, seen = small(), []
    detector.head.weight.data.zero_()
    detector.head.bias.data.zero_()
    detector.network.register_forward_hook(lambda module, given, result: seen.append(given[0]))
    contrast, shift = detector.loss(phantoms(SPEC, 3, seed=1))
    assert [len(views) for views in seen] == [12, 12]
    assert shift.item() == pytest.approx(math.log(4))
    assert 0 < contrast.item() < 2 * math.log(24)
    assert seen[0].min() >= -1
    assert seen[0].max() <= 1
    assert not torch.equal(seen[0], seen[1])


def observes(detector: Any, codes: Tensor, certainties: Tensor) -> Any:
    """A detector for which image i, whose only value is i / 100, has these codes (n, 4, 128) and certainties (n, 4)."""

    def observed(image: Tensor) -> tuple[Tensor, Tensor]:
        at = (100 * image[:, 0, 0, 0]).round().long()
        return codes[at], certainties[at]

    detector.observed = observed
    return detector


def numbered(*numbers: int) -> Tensor:
    return (torch.tensor(numbers) / 100)[:, None, None, None].expand(-1, 1, 32, 32).contiguous()


def test_the_score_by_hand() -> None:
    random = torch.Generator().manual_seed(0)
    codes, certainties = torch.randn((6, 4, 128), generator=random), 1 + torch.rand((6, 4), generator=random)
    detector = observes(small(), codes, certainties)
    phase = detector.phases()[1]
    phase.begin()
    for part in (numbered(0, 1, 2), numbered(3, 4)):
        phase.step(Batch(part), phase.update)
    phase.finish()
    detector.fitted_.fill_(True)
    train = codes[:5]
    similarity = shift = 0.0
    for s in range(4):
        nearest = max(float(codes[5, s] @ train[i, s] / train[i, s].norm()) for i in range(5))
        similarity -= nearest / float(train[:, s].norm(dim=1).mean()) / 4
        shift -= float(certainties[5, s] / certainties[:5, s].mean()) / 4
    scores = detector.score(numbered(5))
    assert scores.parts["similarity"].item() == pytest.approx(similarity, rel=1e-5)
    assert scores.parts["shift"].item() == pytest.approx(shift, rel=1e-5)
    assert scores.image.item() == pytest.approx(similarity + shift, rel=1e-5)


def test_a_shift_that_cannot_be_told_does_not_count_and_is_said() -> None:
    certainties = torch.tensor([[1.0, -0.5, 2.0, 0.0]]).expand(3, -1)
    detector = observes(small(), torch.randn(3, 4, 128), certainties)
    phase = detector.phases()[1]
    phase.begin()
    phase.step(Batch(numbered(0, 1, 2)), phase.update)
    with pytest.warns(UserWarning, match="cannot tell 2 of 4 shifts"):
        phase.finish()
    assert detector.weights_[1].tolist() == [1.0, 0.0, 0.5, 0.0]


def test_training_images_resemble_themselves() -> None:
    detector, images = small(), phantoms(SPEC, 6, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so short a training may not tell the shifts
        Training(1, batch_size=3).fit(detector, images)
    assert detector.axes_.shape == (4, 6, 128)
    codes, _ = detector.observed(images)
    nearest = torch.einsum("bsf,snf->bsn", codes, detector.axes_).amax(2)
    assert torch.allclose(nearest, codes.norm(dim=2), rtol=1e-4)


def test_other_numbers_of_channels_and_turns_of_rectangles_are_refused() -> None:
    with pytest.raises(MedoodError, match="one or three channels, found 2"):
        small(ImageSpec(2, 32, 32))
    with pytest.raises(MedoodError, match=r"CSI with turns .* 32 x 32 or 48 x 48"):
        small(ImageSpec(1, 32, 48), shifts="turns")
    assert small(ImageSpec(1, 32, 48)).shifted(torch.rand(1, 1, 32, 48), 3).shape == (1, 1, 32, 48)
