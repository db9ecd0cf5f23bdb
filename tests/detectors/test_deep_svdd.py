"""Deep SVDD's network against the published one, its centre, radius and losses by hand, and its warning when features collapse."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.one_class.deep_svdd import DeepSVDD, away_from_zero

SPEC = ImageSpec(1, 32, 32)
SMALL = {"width": 4, "code": 16, "learning_rate": 1e-3, "autoencoder_epochs": 2, "epochs": 2}


def small(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    return build(lambda: DeepSVDD(spec, **(SMALL | parameters)))


def ready(spec: ImageSpec = SPEC, **parameters: Any) -> Any:
    return Training(2).fit(small(spec, **parameters), phantoms(spec, 32, seed=1))


def convolutions(network: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]


def test_the_network_for_256_pixels_has_the_known_size() -> None:
    with torch.device("meta"):
        detector = DeepSVDD(ImageSpec(1, 256, 256))
        small = DeepSVDD(SPEC, width=32)
    assert convolutions(detector.encoder) == [(1, 16), (16, 32), (32, 64), (64, 128), (128, 128), (128, 128)]
    assert detector.encoder[-1].weight.shape == (128, 128 * 4 * 4)
    assert sum(p.numel() for p in detector.encoder.parameters()) / 1e6 == pytest.approx(1.35, abs=0.005)
    assert convolutions(small.encoder) == [(1, 32), (32, 64), (64, 128)]
    assert convolutions(small.decoder) == [(8, 128), (128, 64), (64, 32), (32, 1)]


def test_nothing_in_the_network_can_produce_a_constant() -> None:
    detector = small()
    assert not any(name.endswith("bias") for name, _ in detector.named_parameters())
    norms = [m for m in detector.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    assert norms
    assert all(m.eps == 1e-4 and not m.affine for m in norms)
    ready_detector = ready()
    ready_detector.encoder.eval()
    for m in ready_detector.encoder.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.zero_()
    assert (ready_detector.encoder(torch.zeros(1, 1, 32, 32)) == 0).all()


def test_the_centre_keeps_away_from_zero() -> None:
    given = torch.tensor([0.0, -0.0, 0.05, -0.05, 0.1, -0.1, 0.3, -2.0])
    assert away_from_zero(given).tolist() == pytest.approx([0.1, 0.1, 0.1, -0.1, 0.1, -0.1, 0.3, -2.0])


def test_images_are_prepared_with_the_extremes_of_the_training_images() -> None:
    spec = ImageSpec(3, 32, 32, -1.0, 1.0)
    detector, images = ready(spec), phantoms(spec, 32, seed=1)
    arrays = images.numpy().astype(float)
    centred = arrays - arrays.mean((1, 2, 3), keepdims=True)
    contrast = centred / np.abs(centred).mean((1, 2, 3), keepdims=True)
    expected = (contrast - contrast.min()) / (contrast.max() - contrast.min())
    assert detector.prepare(images).numpy() == pytest.approx(expected, abs=1e-5)
    outside = detector.prepare(torch.cat([images[:1], 5 * images[:1] + 0.3]))
    assert torch.allclose(outside[0], outside[1], atol=1e-5)  # neither brightness nor contrast counts
    assert (detector.contrast(torch.full((1, 3, 32, 32), 0.1)).abs() < 1e-2).all()


def test_centre_radius_and_score_by_hand() -> None:
    detector, images = small(objective="soft_boundary", nu=0.25), phantoms(SPEC, 32, seed=1)
    scale, _, centre, _, radius = detector.phases()
    detector.eval()
    with torch.no_grad():
        for phase in (scale, centre, radius):
            phase.begin()
            for part in images.split(10):
                phase.step(Batch(part), lambda loss, name: None)
            phase.finish()
        features = detector.encoder(detector.prepare(images))
    expected = away_from_zero(features.mean(0))
    assert torch.allclose(detector.centre_, expected, atol=1e-5)
    distance = (features - expected).square().sum(1).numpy()
    assert float(detector.radius_) == pytest.approx(np.quantile(np.sqrt(distance), 0.75), rel=1e-4)
    assert (distance > float(detector.radius_) ** 2).sum() == 8
    detector.fitted_.fill_(True)
    scores = detector.score(images)
    assert scores.parts["distance"].numpy() == pytest.approx(distance, rel=1e-4)
    assert scores.image.numpy() == pytest.approx(distance - float(detector.radius_) ** 2, abs=1e-4 * float(distance.max()))
    assert scores.map is None


@pytest.mark.parametrize(("objective", "expected"), [("one_class", 3.5), ("soft_boundary", 1.44 + (0 + 2 * 1.56 + 5.56) / 4 / 0.1)])
def test_the_losses_by_hand(objective: str, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = small(objective=objective, warmup_epochs=0)
    phase = detector.phases()[3]
    phase.begin()
    detector.radius_.fill_(1.2)
    monkeypatch.setattr(detector, "distance", lambda image: torch.tensor([1.0, 3.0, 3.0, 7.0]))
    losses: list[float] = []
    phase.step(Batch(torch.zeros(4, 1, 32, 32)), lambda loss, name: losses.append(float(loss)))
    assert losses == [pytest.approx(expected, rel=1e-5)]
    last = np.quantile(np.sqrt([1.0, 3.0, 3.0, 7.0]), 0.9) if detector.soft else 1.2
    assert float(detector.radius_) == pytest.approx(last, rel=1e-5)


def test_the_radius_follows_only_after_the_warm_up() -> None:
    detector = small(objective="soft_boundary", warmup_epochs=2)
    images, radii = phantoms(SPEC, 20, seed=1), []
    training = Training(3, batch_size=10, after_backward=lambda phase, name: radii.append((phase.name, float(detector.radius_))))
    detector.epochs = 3
    training.fit(detector, images)
    during = [radius for name, radius in radii if name == "svdd"]
    assert during[:5] == [0.0] * 5  # it moves after the first step of the third epoch
    assert during[5] > 0


def test_the_autoencoder_sums_squared_errors_over_an_image() -> None:
    detector = ready()
    images = phantoms(SPEC, 3, seed=2)
    with torch.no_grad():
        prepared = detector.prepare(images)
        expected = ((detector.decoder(detector.encoder(prepared)) - prepared) ** 2).numpy().sum((1, 2, 3))
        found = detector.phases()[1].validate(Batch(images))
    assert found.numpy() == pytest.approx(expected, rel=1e-5)


def test_the_same_encoder_is_trained_twice_and_the_decoder_once() -> None:
    detector = small()
    _, autoencoder, _, svdd, _ = detector.phases()
    held = [{id(p) for o in phase.optimizers.values() for g in o.param_groups for p in g["params"]} for phase in (autoencoder, svdd)]
    encoder = {id(p) for p in detector.encoder.parameters()}
    assert held == [encoder | {id(p) for p in detector.decoder.parameters()}, encoder]
    assert svdd.validate(Batch(phantoms(SPEC, 2, seed=2))) is None  # collapsed features would be "best"


def test_training_warns_when_the_features_collapse() -> None:
    detector, images = ready(), phantoms(SPEC, 32, seed=1)
    radius = detector.phases()[4]

    def measure() -> None:
        with torch.no_grad():
            radius.begin()
            radius.step(Batch(images), lambda loss, name: None)
            radius.finish()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure()
    with torch.no_grad():
        detector.encoder[-1].weight *= 1e-3
    with pytest.warns(UserWarning, match="collapsed"):
        measure()


def test_with_a_width_of_32_it_is_the_network_of_its_authors_for_cifar() -> None:
    """Three convolutions of 5 x 5 with 32, 64 and 128 channels, and 128 features of 4 x 4 pixels, none with a bias."""
    encoder = DeepSVDD(ImageSpec(3, 32, 32), width=32).encoder
    expected = [32 * 3 * 25, 64 * 32 * 25, 128 * 64 * 25, 128 * 128 * 16]
    assert [parameter.numel() for parameter in encoder.parameters()] == expected


def test_images_without_any_contrast_cannot_be_learned() -> None:
    with pytest.raises(TrainingError, match="contrast"):
        Training(1).fit(small(), torch.full((4, 1, 32, 32), 0.5))


def test_the_attribution_is_the_derivative_of_each_images_score() -> None:
    detector, images = ready(attribution=True, blur=0.0).double(), phantoms(SPEC, 2, seed=2).double()
    heat = detector.score(images).map
    for row, column in ((16, 16), (11, 20)):
        step = torch.zeros_like(images)
        step[:, :, row, column] = 1e-6
        above, below = (detector.score(images + sign * step).parts["distance"] for sign in (1, -1))
        found = heat[:, 0, row, column].numpy()
        assert found == pytest.approx((above - below).abs().numpy() / 2e-6, rel=1e-3, abs=1e-6 * float(heat.max()))
    smooth = ready(attribution=True, blur=2.0).score(phantoms(SPEC, 2, seed=2)).map
    assert smooth.shape == (2, 1, 32, 32)
    assert smooth.amax() < heat.amax()


@pytest.mark.parametrize(
    ("spec", "parameters", "words"),
    [
        (ImageSpec(1, 50, 50), {}, "multiples of 8"),
        (ImageSpec(1, 6, 64), {}, "at least 8, such as 8 x 64, found 6 x 64"),
        (SPEC, {"nu": 0.0}, "`nu` above 0"),
        (SPEC, {"code": 20}, "multiple of 16"),
    ],
)
def test_what_does_not_fit_is_refused(spec: ImageSpec, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(MedoodError, match=words):
        DeepSVDD(spec, **parameters)
