"""Detectors joined: what each finds the ensemble finds, its rate holds, and it trains as its members do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import phantoms, plant
from sklearn.metrics import roc_auc_score
from torch import Tensor

import medood
from medood.core.detector import Detector, ImageSpec
from medood.core.errors import TrainingError
from medood.detectors.combination.ensemble import Ensemble
from medood.features.interface import Extractor, keep_features
from medood.features.network import FrozenNetwork
from medood.metrics.calibration import Calibration
from medood.recipe.recipe import Training
from medood.training.own_images import as_images
from medood.training.trainer import train

SPEC = ImageSpec(1, 64, 64, background=0.0)
TRAIN, HELD_OUT, NEW = (phantoms(SPEC, number, seed=seed) for number, seed in ((60, 1), (60, 2), (120, 3)))
GREYS = {"name": "grey_statistics", "layers": [8]}
BRIGHT, DARK = ({"name": "intensity", "label": side, "side": side} for side in ("higher", "lower"))
NETWORK = {"name": "efficientnet_lite0", "weights": "random", "size": [64, 64]}
PATCHES = {"name": "patch_core", "features": NETWORK | {"layers": [1, 2]}, "bank": 200}


def make(*members: dict[str, Any], **parameters: Any) -> Ensemble:
    torch.manual_seed(0)
    return medood.detector("ensemble", SPEC, members=list(members), **parameters)  # type: ignore[return-value]


def fitted(*members: dict[str, Any], **parameters: Any) -> Ensemble:
    return make(*members, **parameters).fit(TRAIN, HELD_OUT, batch_size=16)


def auroc(scores: Tensor, normal: Tensor) -> float:
    return float(roc_auc_score([0] * len(normal) + [1] * len(scores), torch.cat([normal, scores])))


@pytest.mark.parametrize("join", ["fisher", "harmonic_mean", "maximum"])
def test_what_one_member_is_blind_to_another_finds(join: str) -> None:
    ensemble = fitted(BRIGHT, DARK, join=join)
    normal = ensemble.score(NEW)
    ill = {kind: ensemble.score(plant(SPEC, NEW, kind, seed=4)[0]) for kind in ("bright", "dark")}
    for kind, member, other in (("bright", "higher", "lower"), ("dark", "lower", "higher")):
        assert auroc(ill[kind].image, normal.image) > 0.95
        assert auroc(ill[kind].parts[member], normal.parts[member]) > 0.95
        assert auroc(ill[kind].parts[other], normal.parts[other]) < 0.7


@pytest.mark.parametrize("join", ["fisher", "maximum"])
def test_what_is_hot_in_the_map_of_one_member_is_hot_in_the_joined_map(join: str) -> None:
    """Brightness alone is blind to what is dark, and sure of it: its map is far below that of normal pixels there."""
    ensemble = fitted(BRIGHT, PATCHES, join=join)
    for kind in ("bright", "dark", "texture"):
        images, lesions = plant(SPEC, NEW[:20], kind, seed=4)
        heat, body = ensemble.score(images).map, images != 0
        assert roc_auc_score(lesions[body], heat[body]) > 0.65, kind
        assert (heat[~body] == 0).all()


def test_maps_of_any_unit_weigh_the_same() -> None:
    ensemble = fitted(BRIGHT, {"name": "patch_core", "features": GREYS, "bank": 200})
    before = ensemble.score(NEW[:4]).map
    inside = (HELD_OUT != 0)[:, 0]
    for number, member in enumerate(ensemble.members):
        heat = torch.stack([(each - ensemble.centre_[number]) / ensemble.spread_[number] for each in member._score(HELD_OUT).map[:, 0]])
        assert heat[inside].median() == pytest.approx(0, abs=0.05)
        assert heat[inside].quantile(0.98) == pytest.approx(2.054, abs=0.1)
    louder = fitted(BRIGHT, {"name": "patch_core", "features": GREYS, "bank": 200})
    plain = louder.members[1]._score
    louder.members[1]._score = lambda image: _times(plain(image), 1000.0)
    for phase in louder.phases()[-1:]:
        phase.begin()
        phase.step(medood.Batch(HELD_OUT), phase.update)
        phase.finish()
    torch.testing.assert_close(louder.score(NEW[:4]).map, before, rtol=1e-3, atol=1e-3)


def _times(scores: Any, factor: float) -> Any:
    return medood.Scores(scores.image * factor, scores.map * factor)


def test_a_member_without_a_map_leaves_it_to_the_others() -> None:
    distance = {"name": "mahalanobis", "features": GREYS}
    one = fitted(BRIGHT, distance)
    scores = one.score(NEW[:3])
    deviations = (one.members[0]._score(NEW[:3]).map - one.centre_[0]) / one.spread_[0]
    torch.testing.assert_close(scores.map, deviations.clamp(min=-2.054) * (NEW[:3] != 0))
    assert set(scores.parts) == {"higher", "mahalanobis"}
    torch.testing.assert_close(scores.parts["mahalanobis"], one.members[1]._score(NEW[:3]).image)
    without = fitted(distance, {"name": "knn", "features": GREYS})
    assert not without.localises
    assert without.score(NEW[:3]).map is None


def test_the_rate_holds_for_the_scores_of_the_held_out_images_themselves() -> None:
    """The detector knows its held-out images again: compared with themselves they would be as harmless as the least of them."""
    ensemble = fitted(BRIGHT, DARK, join="maximum")
    normal = ensemble.score(HELD_OUT)
    for label in ("higher", "lower"):
        highest = int(normal.parts[label].argmax())
        others = np.delete(normal.parts[label].numpy(), highest)
        assert normal.image[highest] > np.log(len(HELD_OUT) / 2)  # beyond the highest of the others
        assert normal.parts[label][highest] > others.max()
    shifted = ensemble.score((HELD_OUT + 1e-6) * (HELD_OUT != 0)).image  # other images to all appearances
    assert normal.image.max() > shifted.max() + 0.5


@pytest.mark.parametrize("join", ["fisher", "maximum"])
def test_new_normal_images_are_called_anomalous_as_often_as_promised(join: str) -> None:
    rates = []
    for seed in range(8):
        held_out, new = phantoms(SPEC, 39, seed=100 + seed), phantoms(SPEC, 60, seed=200 + seed)
        ensemble = make(BRIGHT, {"name": "mahalanobis", "features": GREYS}, join=join)
        ensemble.fit(TRAIN[:30], held_out, batch_size=32)
        calibration = Calibration.fit(ensemble.score(held_out).image.numpy(), np.arange(39), 0.1)
        rates.append(float(calibration.anomalous(ensemble.score(new).image.numpy()).mean()))
    error = np.std(rates) / len(rates) ** 0.5
    assert 0.03 < np.mean(rates) < 0.1 + 3 * error


def test_stronger_lesions_score_higher_however_strong_they_are() -> None:
    ensemble = fitted(BRIGHT, {"name": "patch_core", "features": GREYS, "bank": 200})
    image = NEW[:1]
    bright = [
        torch.where((torch.arange(64) < 40) & (torch.arange(64) > 24) & (image > 0), image * factor, image)
        for factor in (1.2, 1.25, 1.3, 1.35)
    ]
    scores = ensemble.score(torch.cat(bright).clamp(0, 1)).image
    assert scores.min() > ensemble.score(HELD_OUT).image.max()
    assert (scores.diff() > 0).all()


def test_members_on_one_network_show_it_every_image_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []
    plain = FrozenNetwork._extract
    members = [
        {"name": "patch_core", "features": NETWORK | {"layers": [1, 2]}, "bank": 50},
        {"name": "mahalanobis", "features": NETWORK | {"layers": [3, 1]}},
    ]
    alone = [medood.detector(spec=SPEC, **member) for member in members]
    ensemble = make(*members)
    assert len({part for part in ensemble.modules() if isinstance(part, FrozenNetwork)}) == 1
    keep_features(ensemble, tmp_path)
    monkeypatch.setattr(FrozenNetwork, "_extract", lambda self, unit: seen.append(len(unit)) or plain(self, unit))
    ensemble.fit(TRAIN[:20], HELD_OUT[:20])
    assert sum(seen) == 40
    for part in ensemble.modules():
        if isinstance(part, Extractor):
            part.store = None
    seen.clear()
    ensemble.score(NEW[:5])
    assert sum(seen) == 5
    for member, detector in zip(ensemble.members, alone, strict=True):
        for grid, expected in zip(member.features(NEW[:5]), detector.features(NEW[:5]), strict=True):
            torch.testing.assert_close(grid, expected, rtol=0.01, atol=0.01)


LEARNERS = (
    {"name": "autoencoder", "width": 2, "latent": 2, "epochs": 2},
    {"name": "vae", "width": 2, "latent": 2, "epochs": 3},
    {"name": "mahalanobis", "features": GREYS},
)


def trained(folder: Path, *, stop: tuple[int, int] | None = None, resume: bool = False, epochs: Any = None) -> Ensemble:
    """Trained as a run is; `stop` is the number of a phase and the step of it at which the process is as good as killed."""
    detector = make(*LEARNERS)
    if stop is not None:
        plain = detector.phases

        def phases() -> list[Any]:
            made = plain()
            made[stop[0]].step = _stopping(made[stop[0]].step, stop[1])
            return made

        detector.phases = phases  # type: ignore[method-assign]
    plan = Training(batch_size=16, tensorboard=False, epochs=epochs)
    images = [as_images(part, SPEC, "images") for part in (TRAIN, HELD_OUT)]
    train(detector, *images, plan, folder, seed=3, device=torch.device("cpu"), resume=resume, progress=False)
    return detector


def _stopping(step: Any, at: int) -> Any:
    calls = []

    def stopping(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == at:
            raise KeyboardInterrupt
        return step(*arguments)

    return stopping


@pytest.mark.parametrize("stop", [(0, 6), (1, 2), (1, 7), (2, 3), (3, 2)], ids=str)
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(stop: tuple[int, int], tmp_path: Path) -> None:
    expected = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", stop=stop)
    found = trained(tmp_path / "stopped", resume=True)
    state, wanted = found.state_dict(), expected.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], value) for name, value in wanted.items())
    assert torch.equal(found.score(NEW[:4]).image, expected.score(NEW[:4]).image)


def test_phases_are_named_after_their_members_and_take_their_own_epochs(tmp_path: Path) -> None:
    assert [phase.name for phase in make(*LEARNERS).phases()] == [
        "autoencoder/reconstruction",
        "vae/reconstruction",
        "mahalanobis/fit",
        "join",
    ]
    trained(tmp_path, epochs={"vae/reconstruction": 1})
    lines = (tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 1 + 1 + 1


def test_the_last_phase_sees_held_out_images_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    plain = Ensemble.scores_of_members
    monkeypatch.setattr(Ensemble, "scores_of_members", lambda self, image: asked.append(image.clone()) or plain(self, image))
    fitted(BRIGHT, DARK)
    seen = torch.cat(asked)
    assert len(seen) == len(HELD_OUT)
    assert {one.sum().item() for one in seen} == {one.sum().item() for one in HELD_OUT}


def test_held_out_images_are_compared_with_those_of_other_patients() -> None:
    """All slices of one patient are brighter than those of others: beside each other they would be nothing special."""
    images = HELD_OUT.clone()
    images[:6] = (images[:6] * 1.3).clamp(0, 1)

    class Slices:
        groups = [str(max(number - 5, 0)) for number in range(len(images))]

        def __len__(self) -> int:
            return len(images)

        def gather(self, numbers: np.ndarray) -> Tensor:
            return images[torch.from_numpy(numbers)]

    ensemble = make(BRIGHT, DARK, join="maximum").fit(TRAIN, Slices(), batch_size=16)
    alone = make(BRIGHT, DARK, join="maximum").fit(TRAIN, images, batch_size=16)
    beyond = np.log(len(images) - 6 + 1) - np.log(2)
    assert (ensemble.score(images[:6]).image > beyond).all()
    assert (alone.score(images[:6]).image > beyond).sum() <= 2


def test_without_held_out_images_or_with_few_it_says_so_before_training() -> None:
    epochs: list[Any] = []
    for held_out in (None, HELD_OUT[:9]):
        with pytest.raises(TrainingError, match="at least 10 held-out normal images"):
            make(BRIGHT, DARK).fit(TRAIN, held_out, on_epoch=epochs.append)
    assert epochs == []


def test_a_member_whose_scores_are_no_numbers_is_named() -> None:
    ensemble = make(BRIGHT, DARK)
    plain: Detector = ensemble.members[1]
    score = plain._score
    plain._score = lambda image: medood.Scores(score(image).image * torch.nan)  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="member lower"):
        ensemble.fit(TRAIN, HELD_OUT)


def test_saved_and_loaded_it_stands_alone(tmp_path: Path) -> None:
    ensemble = fitted(*LEARNERS)
    medood.save_detector(ensemble, tmp_path / "ensemble")
    loaded = medood.load_detector(tmp_path / "ensemble")
    for images in (NEW[:4], HELD_OUT[:4]):
        torch.testing.assert_close(loaded.score(images).image, ensemble.score(images).image, rtol=1e-4, atol=1e-4)
