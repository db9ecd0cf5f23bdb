"""Pasted anomalies: where they are, how large, and that nothing else changed."""

from __future__ import annotations

import pytest
import torch
from detector_trials import phantoms
from torch import Tensor
from torch.nn.functional import interpolate

from medood.core.detector import ImageSpec
from medood.nets.images.pasted import KINDS, Kind, Paste, Pasted

SPEC = ImageSpec(1, 64, 48, -100.0, 300.0, background=-100.0)
BODY = phantoms(SPEC, 32, seed=1) != SPEC.low
ROUGH = torch.rand((32, 1, 12, 9), generator=torch.Generator().manual_seed(1))
IMAGES = torch.where(BODY, 240 * interpolate(ROUGH, (64, 48), mode="bilinear") - 50, SPEC.low)  # no two alike


def pasted(*kinds: Kind, seed: int = 0, images: Tensor = IMAGES, **how: object) -> Pasted:
    paste = Paste(kinds or KINDS, low=SPEC.low, high=SPEC.high, **({"share": 1.0} | how))  # type: ignore[arg-type]
    return paste(images, images != SPEC.low, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_is_above_zero_exactly_where_pixels_changed(kind: Kind) -> None:
    made = pasted(kind)
    assert torch.equal(made.target > 0, made.image != IMAGES)
    assert made.target.max() <= 1
    assert (made.target.flatten(1).amax(1) > 0).float().mean() > 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_outside_the_body_and_the_body_stays_the_body(kind: Kind) -> None:
    made = pasted(kind)
    assert torch.equal(made.image != SPEC.low, BODY)
    assert made.image.max() <= SPEC.high
    for image, before, body in zip(made.image, IMAGES, BODY, strict=True):
        assert image[body].min() >= before[body].min()


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_everything(kind: Kind) -> None:
    torch.manual_seed(5)
    one = pasted(kind, seed=3)
    torch.manual_seed(6)
    same, other = pasted(kind, seed=3), pasted(kind, seed=4)
    assert torch.equal(one.image, same.image)
    assert torch.equal(one.target, same.target)
    assert not torch.equal(one.image, other.image)


def test_some_images_stay_as_they_were() -> None:
    changed = (pasted(images=IMAGES.repeat(8, 1, 1, 1), share=0.6).target > 0).flatten(1).any(1).float().mean()
    assert 0.45 < float(changed) < 0.65
    assert torch.equal(pasted(share=0.0).image, IMAGES)


def test_sides_are_shares_of_the_body() -> None:
    made = pasted("fpi", images=IMAGES, sides=(0.3, 0.3), most=1)
    for target, body in zip(made.target[:, 0] > 0, BODY, strict=True):
        side = 0.3 * float(body.sum()) ** 0.5
        rows, columns = (int(target.any(axis).nonzero().max() - target.any(axis).nonzero().min()) + 1 for axis in (1, 0))
        assert max(rows, columns) <= side + 1


def test_foreign_parts_come_from_the_same_place_of_another_image_of_the_batch() -> None:
    images = torch.cat([torch.full_like(IMAGES[:1], 0.0), torch.full_like(IMAGES[:1], 100.0), torch.full_like(IMAGES[:1], 200.0)])
    images[..., -1, -1] = -90.0  # nothing gets darker than the darkest
    made = pasted("fpi", images=images, seed=2)
    for number, (image, target) in enumerate(zip(made.image, made.target, strict=True)):
        source = float(images[number - 1, 0, 0, 0])
        changed = image[target > 0]
        low, high = sorted((100.0 * number, source))
        assert len(changed) > 0
        assert changed.min() >= low
        assert changed.max() <= high


def test_cut_parts_come_from_the_same_image() -> None:
    images = torch.cat([torch.full_like(IMAGES[:1], 0.0), torch.full_like(IMAGES[:1], 200.0)])
    made = pasted("cutpaste", images=images)
    assert (made.image - images).abs().max() <= 0.1 * (SPEC.high - SPEC.low) + 1e-3
    alone = pasted("cutpaste", images=IMAGES[:1], seed=2)
    batch = pasted("cutpaste", images=torch.cat([IMAGES[:1], IMAGES[:1] * 0.5]), seed=2)
    assert torch.equal(alone.image[0], batch.image[0])


def test_an_image_alone_is_mixed_with_its_mirror_image() -> None:
    made = pasted("fpi", images=IMAGES[:1], sides=(0.3, 0.4))
    mirrored, changed = IMAGES[:1].flip(3), made.target > 0
    assert changed.any()
    ends = torch.stack([IMAGES[:1][changed], mirrored[changed]])
    assert (made.image[changed] >= ends.amin(0) - 1e-3).all()
    assert (made.image[changed] <= ends.amax(0) + 1e-3).all()


def test_blobs_are_bright_dark_and_rough() -> None:
    made = pasted("blobs", most=1, images=IMAGES.repeat(4, 1, 1, 1))
    change, where = made.image - IMAGES.repeat(4, 1, 1, 1), made.target > 0
    signs = torch.stack([c[w].sign().mean() if w.any() else torch.tensor(0.0) for c, w in zip(change, where, strict=True)])
    assert (signs == 1).float().mean() > 0.2
    assert (signs == -1).float().mean() > 0.2
    assert (signs.abs() < 0.9).float().mean() > 0.2


def test_images_without_a_body_stay_as_they_are() -> None:
    nothing = torch.full_like(IMAGES[:2], SPEC.low)
    made = pasted(images=nothing)
    assert torch.equal(made.image, nothing)
    assert (made.target == 0).all()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (5, 70)])
def test_small_images_hold_anomalies_too(height: int, width: int) -> None:
    images = torch.rand((8, 3, height, width), generator=torch.Generator().manual_seed(0))
    made = Paste(share=1.0)(images, torch.ones((8, 1, height, width), dtype=torch.bool), torch.Generator().manual_seed(0))
    assert torch.equal((made.image != images).any(1, keepdim=True), made.target > 0)
    assert (made.target > 0).any()
