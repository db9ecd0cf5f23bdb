"""Maps by occlusion, of detectors for which it is known by how much a score must fall."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detector_trials import phantoms, plant
from torch import Tensor

from medood.core.detector import Detector, ImageSpec, Scores
from medood.core.errors import MedoodError
from medood.detectors.combination.image_keys import keys_of
from medood.detectors.density.mahalanobis import Mahalanobis
from medood.detectors.occlusion import Occlusion
from medood.features.gradient_histograms import GradientHistograms
from medood.features.grey_statistics import GreyStatistics
from medood.features.interface import keep_features
from medood.features.local_binary_patterns import LocalBinaryPatterns

SPEC = ImageSpec(1, 24, 32, 0.0, 1.0, background=0.0)


class Bright(Detector):
    """Sums up how far pixels lie above 0.5; a linear score, whose fall is known exactly."""

    localises = False
    seen = 0

    def _score(self, image: Tensor) -> Scores:
        self.seen += len(image)
        total = (image - 0.5).clamp(min=0).sum((1, 2, 3))
        return Scores(total, parts={"total": total})


class Total(Detector):
    localises = False

    def _score(self, image: Tensor) -> Scores:
        return Scores(image.sum((1, 2, 3)))


def grey_with_one_bright_square() -> Tensor:
    image = torch.full((1, *SPEC.shape), 0.5)
    image[..., 8:12, 16:20] = 1.0
    return image


def test_the_map_is_the_mean_fall_of_the_squares_that_cover_a_pixel() -> None:
    """Every square by hand; where it hides the bright one, it is filled with grey that is somewhat brighter than 0.5."""
    detector = Occlusion(Bright(SPEC).mark_fitted(), side=8, stride=4).mark_fitted()
    image = grey_with_one_bright_square()
    scores = detector.score(image)
    total, covered = torch.zeros(24, 32), torch.zeros(24, 32)
    for row in (0, 4, 8, 12, 16):
        for column in range(0, 25, 4):
            hidden = torch.zeros((1, 1, 24, 32), dtype=torch.bool)
            hidden[..., row : row + 8, column : column + 8] = True
            without = detector._without(image, hidden, torch.ones_like(hidden))
            assert torch.equal(without[~hidden], image[~hidden])
            total += hidden[0, 0] * (scores.image - detector.detector.score(without).image)
            covered += hidden[0, 0]
    assert float(scores.image) == pytest.approx(8.0)
    assert torch.allclose(scores.map[0, 0], total / covered, atol=1e-5)
    assert float(scores.map[0, 0, 10, 18]) == pytest.approx(float(scores.map.max()))
    assert float(scores.map[0, 0, 9, 17]) > 4
    assert float(scores.map[0, 0, 20:, :].max()) <= 0.0


def test_squares_are_filled_from_around_inside_the_body() -> None:
    detector = Occlusion(Bright(SPEC).mark_fitted(), side=4).mark_fitted()
    image = torch.zeros((1, *SPEC.shape))
    image[..., 4:20, 4:28] = 0.25
    image[..., 10:14, 14:18] = 1.0
    body = image > 0
    hidden = torch.zeros_like(body)
    hidden[..., 10:14, 14:18] = True
    filled = detector._without(image, hidden, body)
    assert torch.allclose(filled[hidden], torch.tensor(0.25))  # neither the hidden square nor the dark outside counts
    assert torch.equal(filled[~hidden], image[~hidden])
    assert torch.equal(detector._without(image, body, body)[~body], image[~body])  # nothing is left to fill from
    assert bool(detector._without(image, body, body).isfinite().all())


def test_squares_outside_the_body_are_not_scored_and_the_last_ends_with_the_image() -> None:
    inner = Bright(SPEC).mark_fitted()
    detector = Occlusion(inner, side=10, stride=10).mark_fitted()
    assert detector.squares == 3 * 4  # rows 0, 10, 14; columns 0, 10, 20, 22
    image = torch.zeros((2, *SPEC.shape))
    image[0, :, :5, :5] = 0.9
    scores = detector.score(image)
    assert inner.seen == 2 + 1
    assert float(scores.map[0, 0, 2, 2]) > 0
    assert bool((scores.map[1] == 0).all())


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_how_many_squares_are_scored_at_once_changes_nothing(at_once: int) -> None:
    images = torch.rand((3, *SPEC.shape), generator=torch.Generator().manual_seed(0))
    expected = Occlusion(Bright(SPEC).mark_fitted(), side=8).mark_fitted().score(images)
    found = Occlusion(Bright(SPEC).mark_fitted(), side=8, at_once=at_once).mark_fitted().score(images)
    assert torch.allclose(found.map, expected.map, atol=1e-5)
    assert torch.equal(found.image, expected.image)
    assert found.parts.keys() == expected.parts.keys()


def test_features_of_hidden_squares_are_not_kept(tmp_path: Path) -> None:
    spec = ImageSpec(1, 48, 48, 0.0, 1.0, background=0.0)
    inner = Mahalanobis(spec, GreyStatistics(spec, size=(48, 48), layers=(8,))).fit(phantoms(spec, 24, seed=1))
    images = phantoms(spec, 2, seed=2)
    lesion = plant(spec, images, "texture", 0, 0.15)[0]
    detector = Occlusion(inner, side=12, stride=12).mark_fitted()
    keep_features(detector, tmp_path)
    first = detector.score(lesion)
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    again = detector.score(lesion)
    assert torch.equal(first.map, again.map)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) == kept
    one = sum(c * h * w for c, h, w in inner.features.shapes) * 2  # half precision
    assert kept < 4 * one + 20_000


def test_features_to_which_a_smooth_square_is_odd_itself_are_refused() -> None:
    """By the planted lesions of the contract their maps say nothing of where a lesion is."""
    spec = ImageSpec(1, 48, 48, 0.0, 1.0, background=0.0)
    for extractor in (GradientHistograms(spec, size=(48, 48), layers=(8,)), LocalBinaryPatterns(spec, size=(48, 48))):
        with pytest.raises(MedoodError, match="take other features, or leave `occlusion` out"):
            Occlusion(Mahalanobis(spec, extractor))


def test_the_cost_is_stated_and_what_cannot_be_is_refused() -> None:
    detector = Occlusion(Bright(SPEC), side=8, stride=8)
    assert detector.cost_of_scoring() == "Maps by occlusion: every image is scored up to 13 times, with squares of 8 pixels hidden."
    for parameters, words in (({"side": 30}, "do not fit"), ({"side": 4, "stride": 5}, "gaps")):
        with pytest.raises(MedoodError, match=words):
            Occlusion(Bright(SPEC), **parameters)
    with pytest.raises(MedoodError, match="Occlusion has a map of its own"):
        Occlusion(detector)


def test_a_map_is_the_same_in_any_batch_where_a_square_hides_all_of_a_body() -> None:
    """One image has its body within a square and nothing around it to fill it with; the other one has more."""
    spec = ImageSpec(1, 24, 32, -1.0, 1.0, background=-1.0)
    detector = Occlusion(Total(spec).mark_fitted(), side=8, stride=8).mark_fitted()
    images = torch.full((2, *spec.shape), -1.0)
    images[0, :, 2:4, 2:4] = 0.8
    images[1, :, 4:20, 4:28] = 0.8
    together = detector.score(images).map
    assert torch.equal(together[:1], detector.score(images[:1]).map)
    assert torch.equal(together[1:], detector.score(images[1:]).map)


class Asks(Detector):
    """Notes which images it takes those for that it scores."""

    localises = False

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(spec)
        self.taken: list[int] = []

    def _score(self, image: Tensor) -> Scores:
        self.taken += keys_of(image).tolist()
        return Scores(image.mean((1, 2, 3)))


def test_an_image_is_known_again_when_a_part_of_it_is_hidden() -> None:
    """An ensemble compares a held-out image with those of other patients, and so its copies: else its map would be that difference."""
    detector = Asks(SPEC).mark_fitted()
    images = torch.rand((2, *SPEC.shape), generator=torch.Generator().manual_seed(0))
    Occlusion(detector, side=12, stride=12).mark_fitted().score(images)
    assert len(detector.taken) > 2
    assert set(detector.taken) == set(keys_of(images).tolist())
    assert set(keys_of(images.flip(3)).tolist()).isdisjoint(detector.taken)
