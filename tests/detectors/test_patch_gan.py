"""Patch-GAN: what it hides, what it ranks, what it learns from, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms
from monai.networks.layers import GaussianFilter
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import avg_pool2d

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.adversarial.patch_gan import PatchGAN
from medood.detectors.adversarial.patch_gan_masks import Passes, complementary_masks, scoring_masks, show
from medood.detectors.adversarial.patch_gan_ranking import LogitPooling, rank, top_mean
from medood.transforms.mask_boxes import MaskBoxes

SPEC = ImageSpec(1, 64, 64, 0.0, 1.0, background=0.0)
CROP = ImageSpec(1, 32, 32, 0.0, 1.0, background=0.0)


def new(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    small = {"width": 4, "discriminator_width": 4, "blur": 0.0}
    return build(lambda: PatchGAN(spec, **(small | parameters)))


def ready(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    """Trained on two batches: the weights do not matter, but statistics of batch norm must be there."""
    tile = 32 if parameters.get("reading") == "crop32" else None
    return Training(1, MaskBoxes(tile=tile)).fit(new(spec, **parameters), phantoms(spec, 32, seed=1))


def parameters_in(module: torch.nn.Module) -> float:
    """In millions."""
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize(("passes", "cells"), [(16, 4), (4, 16)])
@pytest.mark.parametrize("offset", [0, 16])
def test_complementary_masks_hide_every_pixel_once(passes: int, cells: int, offset: int) -> None:
    masks = complementary_masks((256, 256), 32, passes, (offset, offset // 2))
    assert masks.shape == (passes, 1, 256, 256)
    assert (masks.sum(0) == 1).all()
    if offset == 0:
        whole = masks.float().view(passes, 8, 32, 8, 32).mean((2, 4))
        assert set(whole.unique().tolist()) == {0.0, 1.0}
        assert (whole.sum((1, 2)) == cells).all()
        apart = 4 if passes == 16 else 2
        rows = whole[0].nonzero()
        assert ((rows[:, None] - rows[None]) % apart == 0).all()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"shifts": 1},
        {"passes": 4, "shifts": 4},
        {"reading": "crop32", "hide": "complementary", "width": 16},
        {"fill": "mean", "shifts": 1},
    ],
)
def test_no_pixel_is_judged_on_what_it_shows(parameters: dict[str, Any]) -> None:
    """Whatever a cell holds, what is filled in there is the same, even at the border, where the shown image is mirrored."""
    detector = ready(**parameters)
    images = phantoms(SPEC, 1, seed=2) * 0.5 + 0.25
    tiles = detector.tiles(images)
    cell = 4 if detector.crops else 8
    with torch.no_grad():
        before = detector.scoring(detector.reconstructor, tiles)
        for row, column in ((0, 0), (3 * cell, 0), (2 * cell, 7 * cell), (4 * cell, 4 * cell)):
            place = slice(row, row + cell), slice(column, column + cell)
            if parameters.get("shifts") != 1:  # all that every position of the grid hides together with a pixel is that pixel
                place = slice(row + cell // 2 - 1, row + cell // 2), slice(column + cell // 2 - 1, column + cell // 2)
            changed = tiles.clone()
            changed[(..., *place)] = 0.9
            after = detector.scoring(detector.reconstructor, changed)
            assert torch.equal(after[(..., *place)], before[(..., *place)])
            assert not torch.equal(after, before)


def test_passes_add_up_to_one_image_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, shares = scoring_masks("complementary", (64, 64), 16, 2, 0)
    images = torch.rand((3, 2, 64, 64))
    numbered = Passes(masks, shares, "black", context=True, margin=16)
    calls: list[int] = []

    def network(shown: Tensor) -> Tensor:
        calls.append(len(shown))
        return shown[:, :2] + 2 * shown[:, 2:]  # 2 where hidden, and hidden pixels show 0

    assert torch.allclose(numbered(network, images), torch.full_like(images, 2.0))
    monkeypatch.setattr("medood.detectors.adversarial.patch_gan_masks.PIXELS_AT_ONCE", 5 * 64 * 64)
    calls.clear()
    assert torch.allclose(numbered(network, images), torch.full_like(images, 2.0))
    assert max(calls) <= 5
    assert sum(calls) == 3 * 64


@pytest.mark.parametrize(("shifts", "passes", "grids"), [(1, 16, 1), (2, 16, 4), (2, 4, 4), (4, 9, 16)])
def test_every_position_of_the_grid_judges_every_pixel_by_its_distance_from_the_rim(shifts: int, passes: int, grids: int) -> None:
    masks, shares = scoring_masks("complementary", (64, 96), passes, shifts, 0)
    assert (masks.sum(0) == grids).all()
    assert not shares[~masks].any()
    assert torch.allclose(shares.sum(0), torch.ones(1, 64, 96))
    first = shares[: len(masks) // grids].sum(0)[0]  # of the position that begins with the image
    depth = torch.tensor([1, 3, 5, 7, 7, 5, 3, 1]) / 8
    cell = depth[:, None] * depth
    assert torch.allclose(first[8:16, 16:24], torch.ones(8, 8) if shifts == 1 else cell * 4 / grids, atol=1e-6)


def test_nothing_hidden_is_one_pass_and_random_masks_follow_the_seed() -> None:
    detector = ready(hide="none", skips=False)
    images = phantoms(SPEC, 2, seed=2)
    with torch.no_grad():
        rebuilt = detector.reconstructor(images)
    assert torch.allclose(detector.score(images).map, (images - rebuilt).square())
    first, again, other = (scoring_masks("random", (256, 256), 10, 1, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.float().mean((1, 2, 3)) == 1 / 16).all()
    _, shares = scoring_masks("random", (256, 256), 10, 1, 0)
    assert shares.sum(0).item() == pytest.approx(1)


def test_what_hidden_pixels_show() -> None:
    image = torch.tensor([[[[0.2, 0.4], [0.6, 0.9]], [[0.1, 0.1], [0.4, 0.5]]]])
    hidden = torch.tensor([[[[False, False], [False, True]]]])
    assert show(image, hidden, "black", False)[0, :, 1, 1].tolist() == [0.0, 0.0]
    assert show(image, hidden, "outside", False)[0, :, 1, 1].tolist() == [-1.0, -1.0]
    assert show(image, hidden, "mean", False)[0, :, 1, 1].tolist() == pytest.approx([0.4, 0.2])
    marked = show(image, hidden, "black", True)
    assert torch.equal(marked[:, 2:], hidden.float())
    assert torch.equal(marked[..., 0, :][:, :2], image[..., 0, :])


def test_ranking_by_hand() -> None:
    errors = torch.tensor([[1.0, 4.0, 2.0, 3.0], [0.0, 0.0, 5.0, 0.0]])
    assert rank(errors, (1.1, 1.0), 0.0).tolist() == pytest.approx([1.1 * 4 + 3, 1.1 * 5])
    assert rank(errors, (1.1, 1.0), 0.5).tolist() == pytest.approx([1.1 * 4 + 3 + 1.5, 1.1 * 5])
    assert rank(errors, (1.0,) * 6, 0.0).tolist() == pytest.approx([10, 5])
    counted = torch.tensor([[True] * 4, [False, False, True, True]])
    assert top_mean(errors, counted, 3).tolist() == pytest.approx([3, 2.5])
    assert top_mean(errors, counted, 16).tolist() == pytest.approx([2.5, 2.5])
    assert top_mean(errors * 0, counted & False, 2).tolist() == [0, 0]


def test_scores_are_the_ranked_patches_of_the_map() -> None:
    detector, images = ready(rest_weight=0.25), phantoms(SPEC, 3, seed=2)
    scores = detector.score(images)
    share = avg_pool2d((images != 0).float(), 8)
    patches = avg_pool2d(scores.map, 8) * (share >= 0.5)
    assert torch.allclose(scores.patches, patches)
    assert 20 < (share >= 0.5).sum((1, 2, 3)).min() < (share > 0).sum((1, 2, 3)).min() < 64
    for number in range(3):
        ordered = sorted(patches[number].flatten().tolist(), reverse=True)
        counted = int((share[number] >= 0.5).sum())
        assert scores.image[number].item() == pytest.approx(1.1 * ordered[0] + ordered[1] + 0.25 * sum(ordered[2:]), rel=1e-4)
        assert scores.parts["unranked"][number].item() == pytest.approx(sum(ordered) / counted, rel=1e-4)
        assert scores.parts["top_4"][number].item() == pytest.approx(sum(ordered[:4]) / 4, rel=1e-4)
    assert {"top_1", "top_2", "top_8", "top_16", "top_64", "adversarial"} < scores.parts.keys()


def test_the_paper_is_one_crop_of_four_patches() -> None:
    scores = ready(CROP, reading="crop32", min_foreground=0.0).score(phantoms(CROP, 5, seed=2))
    assert scores.patches.shape == (5, 1, 2, 2)
    ordered = scores.patches.flatten(1).sort(1, descending=True).values
    assert torch.allclose(scores.image, 1.1 * ordered[:, 0] + ordered[:, 1])
    assert torch.allclose(scores.parts["unranked"], ordered.mean(1))


def test_a_large_image_is_its_crops() -> None:
    large, crop = ready(reading="crop32", min_foreground=0.4), new(CROP, reading="crop32", min_foreground=0.4)
    crop.load_state_dict(large.state_dict())
    image = phantoms(SPEC, 1, seed=2)
    image[0, :, :22, :32] = 0.0  # the first crop keeps too little body
    scores = large.score(image)
    parts = [image[:, :, r : r + 32, c : c + 32] for r in (0, 32) for c in (0, 32)]
    alone = crop.score(torch.cat(parts))
    assert alone.image[0] == 0
    assert (alone.image[1:] > 0).all()
    top = alone.image.sort(descending=True).values
    assert scores.image.item() == pytest.approx(top[:2].mean().item(), rel=1e-4)
    assert scores.parts["highest_crop"].item() == pytest.approx(top[0].item(), rel=1e-4)
    assert scores.parts["mean_crop"].item() == pytest.approx(top[:3].mean().item(), rel=1e-4)
    assert torch.allclose(scores.map[0, 0, 32:, :32], alone.map[2, 0], atol=1e-6)
    assert torch.allclose(scores.patches[0, 0, 2:, :2], alone.patches[2, 0], atol=1e-6)


@pytest.mark.parametrize(("layers", "field", "first", "grid"), [(1, 16, 3, 126), (2, 34, 6, 62), (3, 70, 12, 30)])
def test_logits_see_what_the_pooling_believes(layers: int, field: int, first: int, grid: int) -> None:
    spec = ImageSpec(1, 256, 256)
    detector = new(spec, discriminator_layers=layers, discriminator_norm="none", discriminator_width=2)
    image = torch.rand((1, 1, 256, 256), requires_grad=True)
    logits = detector.discriminator(image)[-1]
    assert logits.shape[2:] == (grid, grid)
    at = grid // 2
    seen = torch.autograd.grad(logits[0, 0, at, at], image)[0][0, 0].nonzero()[:, 0]
    assert int(seen.max() - seen.min()) + 1 == field
    assert (int(seen.max() + seen.min()) + 1) / 2 == first + at * 2**layers


@pytest.mark.parametrize(("side", "layers", "patch"), [(256, 2, 32), (128, 1, 16), (32, 1, 16), (96, 3, 8), (32, 2, 4)])
def test_logits_go_to_the_patch_their_centre_lies_in(side: int, layers: int, patch: int) -> None:
    pooling: Any = LogitPooling((side, 2 * side), layers, patch)
    stride = 2**layers
    centres = [1.5 * stride + stride * number for number in range(side // stride - 2)]
    for cell, weights in enumerate(pooling.rows):
        inside = [number for number, centre in enumerate(centres) if cell * patch <= centre < (cell + 1) * patch]
        if not inside:
            inside = [min(range(len(centres)), key=lambda number: abs(centres[number] - (cell + 0.5) * patch))]
        assert weights.nonzero()[:, 0].tolist() == inside
        assert weights[inside].tolist() == pytest.approx([1 / len(inside)] * len(inside))
    logits = torch.rand((2, 1, side // stride - 2, 2 * side // stride - 2))
    assert pooling(logits).shape == (2, 1, side // patch, 2 * side // patch)
    assert torch.allclose(pooling(torch.ones_like(logits)), torch.ones(()))


def test_one_step_updates_the_discriminator_once_and_the_reconstructor_twice() -> None:
    detector = new(real_target=0.9)
    (phase,) = detector.phases()
    image = phantoms(SPEC, 4, seed=1)
    hidden = torch.zeros((4, 1, 64, 64), dtype=torch.bool)
    hidden[..., 20:30, 20:30] = True
    detector.train()
    with torch.no_grad():
        filled = detector.reconstructor(torch.where(hidden, 0.0, image))
        real, fake = (detector.discriminator(x)[-1].sigmoid().double() for x in (image, filled))
    updates: list[tuple[str, float]] = []
    losses = phase.step(Batch(image, hidden), lambda loss, name: updates.append((name, loss.item())))
    assert [name for name, _ in updates] == ["discriminator", "reconstructor", "reconstructor"]
    judge = (-(0.9 * real.log() + 0.1 * (1 - real).log()).mean() - (1 - fake).log().mean()) / 2
    per_patch = avg_pool2d((image - filled).square(), 8).mean() * 64
    assert updates[0][1] == pytest.approx(judge.item(), rel=1e-4)
    assert updates[1][1] == pytest.approx((0.2 * per_patch - fake.log().mean()).item(), rel=1e-4)
    assert losses["reconstruction"].item() == pytest.approx(per_patch.item(), rel=1e-4)
    assert not any(value.requires_grad for value in losses.values())


@pytest.mark.parametrize("region", ["image", "hidden"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_reconstruction_loss_by_hand(region: Any, reduction: Any) -> None:
    (phase,) = new(ImageSpec(3, 64, 64), loss_region=region, loss_reduction=reduction).phases()
    image, filled = torch.full((3, 3, 64, 64), 0.5), torch.full((3, 3, 64, 64), 0.4)
    filled[2], counts = 9.0, torch.tensor([1.0, 1.0, 0.0])  # the last does not count
    hidden = torch.zeros((3, 1, 64, 64), dtype=torch.bool)
    hidden[:, :, :16, :16] = True
    expected = {
        ("image", "sum"): 0.01 * 3 * 64,
        ("image", "mean"): 0.01,
        ("hidden", "sum"): 0.01 * 3 * 256 / 64,
        ("hidden", "mean"): 0.01,
    }
    assert phase._reconstruction(image, filled, hidden, counts).item() == pytest.approx(expected[region, reduction], rel=1e-4)


def test_only_crops_with_enough_body_are_learned_from() -> None:
    (phase,) = new(reading="crop32", min_foreground=0.4).phases()
    images = phantoms(SPEC, 2, seed=1)
    images[1] = 0.0
    hidden = torch.zeros((2, 1, 64, 64), dtype=torch.bool)
    hidden[0, 0, :32, 32:] = True
    crops, parts, counts = phase._tiles(Batch(images, hidden))
    assert crops.shape == (4, 1, 32, 32)
    assert counts.tolist() == [1, 1, 1, 1]
    assert parts.flatten(1).all(1).tolist() == [False, True, False, False]
    crops, parts, counts = phase._tiles(Batch(torch.zeros_like(images), hidden))  # so that other processes need not wait for it
    assert (len(crops), counts.tolist()) == (1, [0])
    with pytest.raises(TrainingError, match="min_foreground"):
        Training(1, MaskBoxes()).fit(new(reading="crop32"), torch.zeros((4, 1, 64, 64)))


@pytest.mark.parametrize("reading", ["image256", "crop32"])
def test_validation_hides_by_itself_and_falls_with_training(reading: Any) -> None:
    detector = new(reading=reading, width=8, learning_rate=5e-3, reconstruction_weight=2.0)
    images = phantoms(SPEC, 32, seed=1)
    (phase,) = detector.phases()
    detector.eval()
    with torch.no_grad():
        before = phase.validate(Batch(images))
        assert torch.equal(before, phase.validate(Batch(images, torch.ones_like(images, dtype=torch.bool))))
        assert torch.allclose(before[:3], phase.validate(Batch(images[:3])), rtol=1e-4)
    Training(8, MaskBoxes(tile=32 if reading == "crop32" else None)).fit(detector, images)
    with torch.no_grad():
        assert phase.validate(Batch(images)).mean() < (0.3 if detector.crops else 0.7) * before.mean()


def test_without_hidden_parts_training_stops_and_names_the_steps() -> None:
    (phase,) = new().phases()
    with pytest.raises(TrainingError, match=r"mask_boxes.*mask_cells"):
        phase.step(Batch(phantoms(SPEC, 2, seed=1)), lambda loss, name: None)


def test_the_adversarial_part_is_of_the_two_most_unreal_patches() -> None:
    detector, images = ready(min_foreground=0.0), phantoms(SPEC, 2, seed=2)
    with torch.no_grad():
        filled = detector.scoring(detector.reconstructor, images)
        unreal = 1 - detector.pooling(detector.discriminator(filled)[-1]).sigmoid()
    expected = unreal.flatten(1).topk(2).values.sum(1)
    assert torch.allclose(detector.score(images).parts["adversarial"], expected, atol=1e-5)


def test_blur_is_a_gaussian_over_the_map_and_leaves_the_scores() -> None:
    images = phantoms(SPEC, 2, seed=2)
    sharp, calm = ready().score(images), ready(blur=4.0).score(images)
    assert torch.equal(sharp.image, calm.image)
    assert torch.equal(sharp.patches, calm.patches)
    body = (images != 0).numpy()
    heat, share = (gaussian_filter(values, (0, 0, 4, 4), mode="constant") for values in (sharp.map.numpy() * body, body.astype(float)))
    expected = np.where(body, heat / np.maximum(share, 1e-6), 0)
    assert abs(calm.map.numpy() - expected).max() < 0.02 * expected.max()
    assert abs(sharp.map.numpy() - expected).max() > 0.2 * expected.max()
    assert torch.equal(ready(blur=None).score(images).map, ready(blur=2.0).score(images).map), "a quarter of the cells of 8 pixels"


class GoesOn(torch.nn.Module):
    """Fills a hole with what is visible within about a pixel of its rim, and with 0.4 beyond: as trained networks do, lesion or not."""

    def __init__(self) -> None:
        super().__init__()
        self.near = GaussianFilter(2, 1.0, approx="sampled", truncated=6.0)

    def forward(self, shown: Tensor) -> Tensor:
        image, visible = shown[:, :1], 1 - shown[:, 1:]
        return (self.near(image * visible) + 0.05 * 0.4) / (self.near(visible) + 0.05)


def heat_of_a_disc(radius: float, **parameters: Any) -> tuple[Tensor, Tensor]:
    """Of a disc of 0.95 on 0.4, at every second place of a cell of 8 x 8: the share that is hotter than half the contrast, and the mean."""
    detector = new(context=True, **parameters).eval()
    detector.fitted_.fill_(True)
    detector.reconstructor = GoesOn()
    rows, columns = torch.arange(64)[:, None], torch.arange(64)
    places = [(28 + down, 28 + across) for down in range(0, 8, 2) for across in range(0, 8, 2)]
    lesions = torch.stack([(rows - y).square() + (columns - x).square() < radius**2 for y, x in places])[:, None]
    heat = detector.score(torch.where(lesions, 0.95, 0.4)).map
    area = lesions.sum((1, 2, 3))
    return ((heat > (0.55 / 2) ** 2) & lesions).sum((1, 2, 3)) / area, (heat * lesions).sum((1, 2, 3)) / area


@pytest.mark.parametrize("radius", [5, 8])
def test_a_uniform_lesion_is_heated_evenly_wherever_it_lies_on_the_grid(radius: float) -> None:
    for parameters in ({"blur": None}, {}):
        hot, mean = heat_of_a_disc(radius, **parameters)
        assert hot.min() > 0.95
        assert mean.min() > 0.8 * mean.max()
    hot, mean = heat_of_a_disc(radius, shifts=1)
    assert hot.min() < 0.5, "stripes along the rims of the one grid"
    assert mean.min() < 0.7 * mean.max()


def test_the_networks_have_the_known_sizes() -> None:
    spec = ImageSpec(1, 256, 256)
    whole, plain, crop = PatchGAN(spec), PatchGAN(spec, hide="none"), PatchGAN(CROP, reading="crop32")
    assert parameters_in(whole.reconstructor) == pytest.approx(4.17, abs=0.01)
    assert parameters_in(whole.discriminator) == pytest.approx(0.66, abs=0.005)
    assert parameters_in(plain.reconstructor) == pytest.approx(3.48, abs=0.01)
    assert parameters_in(crop.reconstructor) == pytest.approx(0.32, abs=0.005)
    assert parameters_in(crop.discriminator) == pytest.approx(0.13, abs=0.005)
    assert (whole.patch, PatchGAN(ImageSpec(1, 128, 192)).patch, crop.patch) == (32, 16, 16)
    assert PatchGAN(ImageSpec(1, 128, 192), context=True).reconstructor.down[0].conv.in_channels == 2


@pytest.mark.parametrize(
    ("spec", "parameters", "words"),
    [
        (ImageSpec(1, 64, 64, -1.0, 1.0), {}, "range: \\[0, 1\\]"),
        (ImageSpec(1, 80, 64), {}, "multiples of 32"),
        (SPEC, {"patch": 24}, "`patch`"),
        (SPEC, {"discriminator_layers": 5}, "discriminator_layers"),
        (SPEC, {"hide": "none", "skips": True}, "`skips`"),
        (SPEC, {"reading": "crop32", "skips": True}, "`skips`"),
        (SPEC, {"passes": 8}, "square"),
    ],
)
def test_settings_that_do_not_fit_are_refused(spec: ImageSpec, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(MedoodError, match=words):
        new(spec, **parameters)
