"""`medood.detector`: fitting on arrays and data sets, loops of one's own, saving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import phantoms
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from training_toys import CPU, Reconstruct, Toy, scripted

import medood
from medood.recipe.recipe import Training
from medood.training.trainer import train

SPEC = medood.ImageSpec(1, 32, 32)
IMAGES = phantoms(SPEC, 20, seed=1)
HELD_OUT = phantoms(SPEC, 6, seed=2)


def fresh(**parameters: Any) -> medood.Detector:
    torch.manual_seed(0)
    return medood.detector("autoencoder", SPEC, width=2, latent=2, **parameters)


def same(one: medood.Detector, other: medood.Detector) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


class Stack:
    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, numbers: np.ndarray) -> Tensor:
        return self.values[numbers]


def test_fitting_is_the_trainers_training_without_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = fresh()
    plan = Training(epochs=4, batch_size=8, tensorboard=False)
    train(theirs, Stack(IMAGES), Stack(HELD_OUT), plan, tmp_path / "run", seed=5, device=CPU, progress=False)
    monkeypatch.chdir(tmp_path)
    ours = fresh()
    before = torch.get_rng_state()
    assert not ours.fitted
    assert ours.fit(IMAGES, HELD_OUT, seed=5, epochs=4, batch_size=8) is ours
    assert ours.fitted
    assert not ours.training
    assert same(ours, theirs)
    assert torch.equal(torch.get_rng_state(), before)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not same(fresh().fit(IMAGES, HELD_OUT, seed=6, epochs=4, batch_size=8), ours)


def test_the_epoch_that_was_best_on_the_held_out_images_is_kept() -> None:
    heard: list[medood.Epoch] = []
    images = torch.rand(4, 1, 6, 6)
    toy = scripted(3.0, 1.0, 2.0).fit(images, images, epochs=3, on_epoch=heard.append)
    assert [epoch.validation for epoch in heard] == [3.0, 1.0, 2.0]
    assert [epoch.number for epoch in heard] == [1, 2, 3]
    assert round(toy.net.bias[0].item()) == 2
    assert round(scripted(3.0, 1.0, 2.0).fit(images, epochs=3).net.bias[0].item()) == 3


class Mappings(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"label": 0, "image": IMAGES[number].numpy()}


def test_arrays_data_sets_and_loaders_of_the_same_images_fit_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES.numpy())
    expected = fresh().fit(IMAGES, epochs=2, batch_size=4)
    pairs = TensorDataset(IMAGES, torch.zeros(len(IMAGES)))
    for images in (
        IMAGES.numpy(),
        IMAGES[:, 0],
        IMAGES.double(),
        np.load(tmp_path / "images.npy", mmap_mode="r"),
        np.flip(IMAGES.numpy(), -1).copy()[..., ::-1],
        list(IMAGES),
        pairs,
        Mappings(),
        DataLoader(pairs, batch_size=16),
        DataLoader(Mappings(), batch_size=4),
        DataLoader(list(IMAGES), batch_size=2, collate_fn=torch.stack),
    ):
        assert same(fresh().fit(images, epochs=2, batch_size=4), expected), type(images)


def test_a_loaders_batch_size_counts_unless_another_is_asked_for() -> None:
    loader = DataLoader(list(IMAGES), batch_size=5)
    assert same(fresh().fit(loader, epochs=2), fresh().fit(IMAGES, epochs=2, batch_size=5))
    assert not same(fresh().fit(loader, epochs=2), fresh().fit(IMAGES, epochs=2))


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield IMAGES[0]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (255 * IMAGES, r"training images: the detector takes values from 0 to 1, found 0 to 171\.\d: scale them"),
        ((255 * IMAGES).to(torch.uint8), "scale them"),
        (torch.full_like(IMAGES, torch.nan), "found nan to nan"),
        (IMAGES[:, :, 1:], r"\(channels, height, width\) \(1, 32, 32\), found \(1, 31, 32\)"),
        (IMAGES[0, 0], r"found the shape \(32, 32\)"),
        (IMAGES.to(torch.complex64), "real numbers, found torch.complex64"),
        (IMAGES.numpy().astype(str), "real numbers, found <U32"),
        (Endless(), "asked for by number, found Endless"),
        (DataLoader(Endless()), "asked for by number, found Endless"),
        (DataLoader(list(IMAGES), batch_size=None), "without a batch size"),
        (DataLoader([255 * image for image in IMAGES]), "scale them"),
        (["a.png", "b.png"], "items that are images"),
        (7, "found int"),
        ({"image": IMAGES}, "asked for by number, found dict"),
        ("folder", "asked for by number, found str"),
        (torch.tensor(3.0), "asked for by number, found Tensor"),
        ([IMAGES[0], IMAGES[0, :, 1:]], "of one shape, found Tensor"),
        ([], "no normal images"),
    ],
)
def test_images_that_do_not_fit_are_a_sentence(images: Any, sentence: str) -> None:
    with pytest.raises(medood.MedoodError, match=sentence):
        fresh().fit(images, epochs=1)


def test_held_out_images_are_named_as_such() -> None:
    with pytest.raises(medood.MedoodError, match="held-out images: the detector takes values from 0 to 1"):
        fresh().fit(IMAGES, 2 * IMAGES, epochs=1)
    with pytest.raises(medood.TrainingError, match="no held-out images"):
        fresh().fit(IMAGES, IMAGES[:0], epochs=1)


def test_wrong_names_and_settings_are_sentences() -> None:
    with pytest.raises(medood.RecipeError, match=r"^fit: epoch: unknown key; did you mean 'epochs'\?"):
        fresh().fit(IMAGES, epoch=1)
    with pytest.raises(medood.MedoodError, match="no detector called 'autoencoderr'; did you mean 'autoencoder'"):
        medood.detector("autoencoderr", SPEC)
    with pytest.raises(medood.RecipeError, match=r"^detector autoencoder: latnt: unknown key; did you mean 'latent'"):
        medood.detector("autoencoder", SPEC, latnt=2)
    with pytest.raises(medood.MedoodError, match="multiples of 32"):
        medood.detector("autoencoder", (1, 33, 33))
    with pytest.raises(medood.NotFitted, match="not been trained"):
        fresh().score(IMAGES)


def test_it_scores_arrays_and_refuses_another_range() -> None:
    detector = fresh().fit(IMAGES, epochs=1)
    scores = detector.score(HELD_OUT)
    for images in (HELD_OUT.numpy(), HELD_OUT.double(), HELD_OUT.numpy().astype(np.float64)):
        assert torch.equal(detector.score(images).image, scores.image)
    assert scores.map is not None
    assert scores.map.shape == (6, 1, 32, 32)
    with pytest.raises(medood.MedoodError, match="found 0 to 2"):
        detector.score(2 * IMAGES / IMAGES.max())
    with pytest.raises(medood.MedoodError, match=r"found the shape \(32, 32\)"):
        detector.score(IMAGES[0, 0])


def test_p_values_come_from_a_calibration_on_held_out_scores() -> None:
    detector = fresh().fit(IMAGES, epochs=1)
    scores = detector.score(HELD_OUT).image.numpy()
    calibration = medood.Calibration.fit(scores, np.arange(6), false_alarm_rate=0.2)
    assert calibration.p_value(np.array([scores.max() + 1, scores.min()])).tolist() == [1 / 7, 1.0]


def test_a_loop_of_ones_own_over_the_phases() -> None:
    detector = fresh()
    torch.manual_seed(1)
    for phase in detector.phases():
        detector.train(bool(phase.optimizers))
        with torch.no_grad():
            phase.begin()
        for _ in range(2):
            for images in DataLoader(TensorDataset(IMAGES), batch_size=8):
                losses = phase.step(medood.Batch(images[0]), phase.update)
                assert losses["loss"] > 0
        with torch.no_grad():
            phase.finish()
    with pytest.raises(medood.NotFitted):
        detector.score(IMAGES)
    assert detector.mark_fitted() is detector
    assert not detector.training
    assert detector.score(IMAGES).image.shape == (20,)


def test_the_plain_update_is_a_step_of_the_named_optimizer_alone() -> None:
    torch.manual_seed(0)
    toy = Toy(Reconstruct)
    other = torch.nn.Parameter(torch.ones(()))
    before = toy.net.weight.detach().clone()
    (phase,) = toy.phases()
    images = torch.rand(3, 1, 6, 6)
    loss = (toy(images) - images.flatten(1)).square().mean() * other
    (gradient,) = torch.autograd.grad(loss, toy.net.weight, retain_graph=True)
    phase.update(loss, "net")
    assert torch.allclose(toy.net.weight, before - 0.1 * gradient)
    assert other.grad is None


def test_a_step_by_its_name_hides_parts_for_patch_gan() -> None:
    augment = medood.augmentation([{"mask_boxes": {}}])
    torch.manual_seed(0)
    detector = medood.detector("patch_gan", medood.ImageSpec(1, 64, 64, background=0.0), width=2, discriminator_width=2)
    images = phantoms(detector.spec, 6, seed=1)
    assert detector.fit(images, augment=augment, epochs=1).score(images).image.isfinite().all()
    with pytest.raises(medood.RecipeError, match=r"^augmentation: augment.0.name: found 'mask_boxs'.*did you mean 'mask_boxes'"):
        medood.augmentation(["mask_boxs"])


@pytest.mark.parametrize("name", ["autoencoder", "one_class_svm"])
def test_a_saved_detector_scores_the_same(name: str, tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"width": 2, "latent": 2} if name == "autoencoder" else {"size": 8, "variance": 1.0}
    spec = medood.ImageSpec(1, 32, 32, background=0.0)
    detector = medood.detector(name, spec, **parameters).fit(IMAGES, **({"epochs": 1} if name == "autoencoder" else {}))
    place = medood.save_detector(detector, str(tmp_path / "saved"))
    assert sorted(path.name for path in place.iterdir()) == ["detector.json", "weights.safetensors"]
    found = medood.load_detector(place)
    assert type(found) is type(detector)
    assert (found.spec, found.fitted, found.training) == (spec, True, False)
    torch.testing.assert_close(found.score(HELD_OUT).image, detector.score(HELD_OUT).image)  # its weights lie in memory in another order
    medood.save_detector(found, place)


def test_what_cannot_be_saved_or_loaded_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(medood.MedoodError, match="has not been fitted"):
        medood.save_detector(fresh(), tmp_path / "saved")
    with pytest.raises(medood.MedoodError, match=r"not made by medood\.detector"):
        medood.save_detector(Toy(Reconstruct).mark_fitted(), tmp_path / "saved")
    with pytest.raises(medood.InputError, match="holds no saved detector"):
        medood.load_detector(tmp_path)
    place = medood.save_detector(fresh().fit(IMAGES, epochs=1), tmp_path / "saved")
    content = json.loads((place / "detector.json").read_text())
    for change in ({"format": 9}, {"detector": "nothing"}, {"parameters": {"latent": 3}}, {"spec": {}}):
        (place / "detector.json").write_text(json.dumps(content | change))
        with pytest.raises(medood.MedoodError):
            medood.load_detector(place)
    (place / "detector.json").write_text("[")
    with pytest.raises(medood.InputError, match="damaged"):
        medood.load_detector(place)


def test_detectors_on_features_take_them_by_name(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((12, 1, 32, 32), dtype=np.float32)
    features = {"name": "grey_statistics", "size": (32, 32)}
    detector = medood.detector("patch_core", (1, 32, 32), features=features, bank=20).fit(images)
    scores = detector.score(images)
    assert scores.map is not None
    again = medood.load_detector(medood.save_detector(detector, tmp_path / "saved")).score(images)
    assert np.allclose(again.image, scores.image)
    with pytest.raises(medood.MedoodError, match="did you mean"):
        medood.detector("knn", (1, 32, 32), features="grey_statistic")
    with pytest.raises(medood.MedoodError, match="works on none"):
        medood.detector("deep_svdd", (1, 32, 32), features="grey_statistics")


def test_detectors_that_can_do_without_features_take_those_they_are_given(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((12, 1, 32, 32), dtype=np.float32)
    small = {"width": 2, "latent": 2}
    detector = medood.detector("vae", (1, 32, 32), features="gradient_histograms", error="perceptual", **small).fit(images, epochs=1)
    again = medood.load_detector(medood.save_detector(detector, tmp_path / "saved")).score(images)
    assert np.allclose(again.map, detector.score(images).map, atol=1e-4)  # its weights lie in memory in another order
    with pytest.raises(medood.MedoodError, match="features of a frozen network"):
        medood.detector("vae", (1, 32, 32), error="perceptual", **small)
