"""Detectors on features: their numbers against other libraries and plain arithmetic, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detector_trials import Training, extractor, phantoms
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from torch import Tensor

from medood.core.detector import Detector, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.features.grey_statistics import GreyStatistics
from medood.features.grids import cells, joined, map_scores, pooled, smoothed
from medood.recipe.catalogue import detectors

SPEC = ImageSpec(1, 64, 64, background=0.0)
GREYS = {"name": "grey_statistics", "size": (64, 64), "layers": (8,)}
NAMES = ("knn", "mahalanobis", "padim", "patch_core")


def make(name: str, spec: ImageSpec = SPEC, features: dict[str, object] = GREYS, **parameters: object) -> Detector:
    return detectors()[name].load()(spec, extractor(spec, features), **parameters)


def trained(name: str, images: Tensor, spec: ImageSpec = SPEC, **parameters: object) -> Detector:
    return Training(1).fit(make(name, spec, **parameters), images)


def whole(detector: Detector, images: Tensor) -> Tensor:
    return torch.cat(pooled(detector.features(images), detector.foreground(images)), 1)


def standard(rows: Tensor, reference: Tensor) -> np.ndarray:
    deviation = reference.std(0)
    return ((rows - reference.mean(0)) / deviation.clamp(min=0.1 * deviation.mean())).double().numpy()


def test_knn_is_the_mean_distance_to_the_nearest_images() -> None:
    normal, images = phantoms(SPEC, 20, seed=1), phantoms(SPEC, 5, seed=2)
    detector = trained("knn", normal, k=3)
    reference = whole(detector, normal)
    expected = np.sort(cdist(standard(whole(detector, images), reference), standard(reference, reference)), 1)[:, :3].mean(1)
    np.testing.assert_allclose(detector.score(images).image, expected, rtol=1e-3)


def test_knn_by_direction_does_not_see_the_length_of_a_layer() -> None:
    detector = trained("knn", phantoms(SPEC, 20, seed=1), metric="cosine", k=2)
    images = phantoms(SPEC, 4, seed=2)
    before = detector.score(images).image
    plain = detector.features._extract
    detector.features._extract = lambda unit: [4 * grid for grid in plain(unit)]
    torch.testing.assert_close(detector.score(images).image, before, rtol=1e-3, atol=1e-4)


def test_knn_of_places_compares_each_with_its_own_place() -> None:
    """Left halves are dark and right halves bright: brightness all over is normal on the right only, and nowhere new as a patch."""
    spec = ImageSpec(1, 64, 64)
    normal = torch.rand(20, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    normal[..., 32:] += 0.8
    odd = normal[:1].clone()
    odd[..., :32] += 0.8
    everywhere = trained("patch_core", normal, spec).score(odd).map
    in_place = trained("knn", normal, spec, level="location").score(odd).map
    assert in_place[0, 0, 32, 16] > 20 * in_place[0, 0, 32, 48]
    assert in_place[0, 0, 32, 16] > 20 * everywhere[0, 0, 32, 16]


@pytest.mark.parametrize("count", [12, 200])
def test_mahalanobis_is_that_of_ledoit_and_wolf(count: int) -> None:
    """With fewer images than numbers, and with more."""
    normal, images = phantoms(SPEC, count, seed=1), phantoms(SPEC, 5, seed=2)
    detector = trained("mahalanobis", normal, features=GREYS | {"layers": (8, 4)})
    reference = whole(detector, normal)
    assert (count < reference.shape[1]) == (count == 12)
    oracle = LedoitWolf(assume_centered=True).fit(standard(reference, reference))
    expected = oracle.mahalanobis(standard(whole(detector, images), reference)) ** 0.5
    np.testing.assert_allclose(detector.score(images).image, expected, rtol=1e-2)


def test_features_of_parts_of_an_image_are_those_of_each_part_alone() -> None:
    grid, body = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)), torch.ones(2, 1, 20, 16, dtype=torch.bool)
    body[:, :, :8] = False  # the upper two rows of places lie outside
    (found,) = pooled([grid], body, 2, ["mean"])
    upper_left, lower_right = grid[:, :, 2:3, :2], grid[:, :, 2:, 2:]  # of the upper three rows only the last is inside
    torch.testing.assert_close(found[:, :3], upper_left.mean((2, 3)))
    torch.testing.assert_close(found[:, -3:], lower_right.mean((2, 3)))
    torch.testing.assert_close(pooled([grid], body, 2, ["maximum", "mean"])[0][:, -3:], found[:, -3:])
    torch.testing.assert_close(pooled([grid], body & False, 5, ["maximum"])[0].view(2, 5, 5, 3)[:, 4, 4], grid[:, :, 4, 3])
    assert pooled([grid], body, 7)[0].shape == (2, 7 * 7 * 3 * 2)  # more parts than places: some are seen twice


@pytest.mark.parametrize("name", ["knn", "mahalanobis"])
def test_with_parts_a_thing_in_the_wrong_place_is_seen(name: str) -> None:
    """A bright square in the upper left of every normal image, in the lower right of the odd one: as a whole it has nothing unusual."""
    spec = ImageSpec(1, 64, 64)
    normal = 0.1 + 0.1 * torch.rand(30, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    normal[..., 8:24, 8:24] += 0.5
    odd = normal[:1].roll((32, 32), (2, 3))
    ratio = {}
    for parts in (1, 2):
        detector = trained(name, normal, spec, parts=parts, statistics=("mean",))
        ratio[parts] = float(detector.score(odd).image / detector.score(normal).image.max())
    assert ratio[1] < 1.5 < 3 < ratio[2]


@pytest.mark.parametrize("statistics", [(), ("mean", "mean")])
@pytest.mark.parametrize("name", ["knn", "mahalanobis"])
def test_statistics_that_say_nothing_or_one_thing_twice_are_refused(name: str, statistics: tuple[str, ...]) -> None:
    with pytest.raises(MedoodError, match=f"{name}: `statistics` must name"):
        make(name, statistics=statistics)


def test_padim_is_the_mahalanobis_distance_at_every_place() -> None:
    spec = ImageSpec(1, 64, 64)
    normal, images = phantoms(spec, 40, seed=1), phantoms(spec, 3, seed=2)
    detector = trained("padim", normal, spec, channels=3, ridge=0.05)

    def rows(pictures: Tensor) -> np.ndarray:
        places = joined([smoothed(grid) for grid in detector.features(pictures)]).flatten(2).transpose(1, 2)
        return (places @ detector.directions).double().numpy()

    reference = rows(normal)
    ridge = 0.05 * reference.reshape(-1, 3).var(0)
    patches = detector.score(images).patches.flatten(1)
    for place in (0, 9, 27, 36):
        mean, covariance = reference[:, place].mean(0), np.cov(reference[:, place].T, bias=True) + np.diag(ridge)
        centred = rows(images)[:, place] - mean
        expected = np.sqrt(np.einsum("bi,ij,bj->b", centred, np.linalg.inv(covariance), centred))
        np.testing.assert_allclose(patches[:, place], expected, rtol=1e-2)


def test_padim_keeps_as_many_directions_as_there_are() -> None:
    for reduce in ("projection", "choice"):
        directions = make("padim", channels=64, reduce=reduce).directions
        assert directions.shape == (5, 5)
        torch.testing.assert_close(directions.T @ directions, torch.eye(5), atol=1e-5, rtol=0)


def test_patch_core_is_the_distance_to_the_nearest_patch_of_its_bank() -> None:
    normal, images = phantoms(SPEC, 20, seed=1), phantoms(SPEC, 4, seed=2)
    detector = trained("patch_core", normal, bank=10**6)
    inside = cells(detector.foreground(normal), detector.grid).flatten(1)
    reference = detector.patches(normal)[inside]
    assert len(detector.bank_) == len(reference)  # all of them, and none from outside the body
    patches = detector.score(images).patches.flatten(1)
    shown = cells(detector.foreground(images), detector.grid).flatten(1)
    expected = cdist(standard(detector.patches(images)[shown], reference), standard(reference, reference)).min(1)
    np.testing.assert_allclose(patches[shown], expected, atol=5e-3)
    assert (patches[~shown] == 0).all()


def test_by_place_distances_count_in_what_is_usual_there() -> None:
    spec = ImageSpec(1, 64, 64)
    normal, images = phantoms(spec, 20, seed=1), phantoms(spec, 4, seed=2)
    plain, by_place = (trained("patch_core", normal, spec, bank=100, by_place=placed) for placed in (False, True))
    usual, found = plain.score(normal).patches.double(), plain.score(images).patches
    number, whole = len(normal), usual.mean()
    mean = (usual.sum(0) + whole) / (number + 1)
    variance = (usual.square().sum(0) + usual.square().mean()) / (number + 1) - mean.square()
    deviation = variance.sqrt().clamp(min=0.1 * float(usual.std(correction=0)))
    torch.testing.assert_close(by_place.score(images).patches, ((found - mean) / deviation).float(), rtol=1e-3, atol=1e-3)


def test_by_place_a_place_that_always_differs_hides_nothing_elsewhere() -> None:
    """The left half is noise of its own in every image, the right half smooth: a faint thing there is far hotter than all the noise."""
    spec, random = ImageSpec(1, 64, 64), torch.Generator().manual_seed(0)
    images = 0.4 + 0.02 * torch.rand(41, 1, 64, 64, generator=random)
    images[..., :32] += 0.5 * torch.rand(41, 1, 16, 8, generator=random).repeat_interleave(4, 2).repeat_interleave(4, 3)
    odd = images[40:]
    odd[..., 24:40, 44:60] += 0.05
    noise = {}
    for by_place in (False, True):
        heat = trained("patch_core", images[:40], spec, bank=60, by_place=by_place).score(odd).map[0, 0]
        noise[by_place] = float(heat[:, :32].max() / heat[:, 32:].max())
    assert noise[True] < 0.5
    assert noise[False] > 0.7


def test_by_place_a_bank_of_everything_is_one_sentence() -> None:
    with pytest.raises(TrainingError, match=r"banked all \d+ normal patches"):
        trained("patch_core", phantoms(SPEC, 5, seed=1), bank=10**6, by_place=True)


@pytest.mark.parametrize(("bank", "expected"), [(50, 50), (0.1, None), (1.0, None), (10**6, None)])
def test_the_bank_is_a_number_of_patches_or_a_share(bank: float, expected: int | None) -> None:
    normal = phantoms(SPEC, 20, seed=1)
    detector = trained("patch_core", normal, bank=bank, candidates=600)
    patches = int(cells(detector.foreground(normal), detector.grid).sum())
    share = round(bank * patches) if isinstance(bank, float) else bank
    assert len(detector.bank_) == (expected or min(share, 600))


def test_memory_is_stated_and_bounded_by_the_candidates() -> None:
    few, many = (make("patch_core").forecast(images) for images in (100_000, 1_000_000))
    assert few == many
    assert "chooses 4000 of up to 100000 patches with 5 channels" in few
    assert make("knn").forecast(1000) == ""
    assert "200 images at 8 x 8" in make("knn", level="location").forecast(10**6)
    assert "MiB" in make("padim").forecast(1000)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parameters", [{}, {"level": "location"}, {"by_place": True, "bank": 50}], ids=["", "location", "by_place"])
def test_what_lies_outside_the_body_does_not_count(name: str, parameters: dict[str, object]) -> None:
    """A spec without a background takes the outside for a part of the image; with one, the outside may not matter."""
    if parameters and name != ("knn" if "level" in parameters else "patch_core"):
        pytest.skip("only knn has levels, and only patch_core counts by place")
    normal, images = phantoms(SPEC, 20, seed=1), phantoms(SPEC, 4, seed=2)
    scores = trained(name, normal, **parameters).score(images)
    if scores.map is not None:
        outside = images[:, :1] == 0
        assert (scores.map[outside] == 0).all()
        nothing = trained(name, normal, **parameters).score(torch.zeros(1, 1, 64, 64))
        assert float(nothing.image) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("images", [torch.full((6, 1, 64, 64), 0.5), phantoms(SPEC, 1, seed=1).expand(6, -1, -1, -1)], ids=["flat", "same"])
def test_images_that_are_all_the_same_are_one_sentence(name: str, images: Tensor) -> None:
    if name in ("padim", "patch_core") and images.std() > 0.01:
        pytest.skip("the places of one image differ")
    with pytest.raises(TrainingError, match=r"all are the same|of all are the same"):
        trained(name, images)


@pytest.mark.parametrize("name", NAMES)
def test_no_body_or_a_single_image_is_one_sentence(name: str) -> None:
    images = torch.zeros(4, 1, 64, 64) if name in ("padim", "patch_core") else phantoms(SPEC, 1, seed=1)
    with pytest.raises(TrainingError, match=r"found [01] "):
        trained(name, images)


def test_a_map_becomes_a_score_over_the_body_alone() -> None:
    heat = torch.arange(100.0).reshape(1, 1, 10, 10)
    body = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    body[..., :5, :] = True
    scores = map_scores(heat, body, 90)
    assert scores["mean"].item() == 24.5
    assert scores["maximum"].item() == 49
    assert scores["percentile"].item() == 44  # five of fifty are higher
    assert map_scores(heat, body, 100)["percentile"].item() == 49
    assert map_scores(heat, body, 0)["percentile"].item() == 0
    assert all(score.item() == 0 for score in map_scores(heat, body & False, 90).values())


def test_a_body_thinner_than_half_a_cell_is_looked_at() -> None:
    body = torch.zeros((3, 1, 64, 64), dtype=torch.bool)
    body[0, :, :, 10:13] = True  # 3 of the 16 columns of a cell
    body[1, :, :35] = True
    assert torch.equal(cells(body, (4, 4))[0, 0], torch.tensor([True, False, False, False]).expand(4, 4))
    assert cells(body, (4, 4))[1, 0, :, 0].tolist() == [True, True, False, False]
    assert not cells(body, (4, 4))[2].any()


def test_the_deviation_of_a_bright_and_smooth_cell_is_that_of_numpy() -> None:
    image = 0.9 + 0.001 * torch.randn((1, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    (grid,) = GreyStatistics(ImageSpec(1, 64, 64), layers=(8,), size=(64, 64)).afresh(image)
    wanted = image.double().unfold(2, 8, 8).unfold(3, 8, 8).flatten(4).std(4, correction=0)
    assert grid[:, 1:2].numpy() == pytest.approx(wanted.numpy(), rel=5e-3)
