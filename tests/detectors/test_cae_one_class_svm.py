"""The one-class SVM on a code, against scikit-learn's; and the network that the baselines of one paper share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms
from sklearn.svm import OneClassSVM as Reference
from torch import nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError, TrainingError
from medood.detectors.one_class.cae_one_class_svm import CAEOneClassSVM
from medood.nets.dcgan import coder, drawer

SPEC = ImageSpec(1, 32, 32, 0.0, 1.0, background=0.0)


def ready(**parameters: Any) -> Any:
    detector = build(lambda: CAEOneClassSVM(SPEC, **{"width": 4, "code": 8, **parameters}))
    return Training(1).fit(detector, phantoms(SPEC, 60, seed=1))


def test_the_score_and_every_other_pair_are_negative_decision_functions_of_the_code() -> None:
    detector = build(lambda: CAEOneClassSVM(SPEC, width=4, code=8, nu=0.2, other_nus=(0.1, 0.5), other_gammas=(0.25, 4.0))).eval()
    train, test = phantoms(SPEC, 60, seed=1), torch.cat([phantoms(SPEC, 10, seed=2), torch.rand((10, *SPEC.shape))])
    with torch.no_grad():
        codes = [detector.code(images) for images in (train, test)]
        detector.solve(codes[0])  # in this order, on which libsvm's path depends
    assert codes[0].abs().max() <= 1
    scores = detector.mark_fitted().score(test)
    wanted = {"": (0.2, "scale")} | {f"nu_{nu:g}_gamma_{g:g}": (nu, g) for nu in (0.1, 0.5) for g in (0.25, 4.0)}
    assert set(scores.parts) == {*wanted, "mse"} - {""}
    for name, (nu, gamma) in wanted.items():
        reference = Reference(nu=nu, gamma=gamma).fit(codes[0].numpy())
        found = scores.parts[name] if name else scores.image
        assert np.abs(found.numpy() + reference.decision_function(codes[1].numpy())).max() < 1e-5, name


def test_the_map_and_the_part_are_those_of_the_reconstruction() -> None:
    detector, images = ready(), phantoms(SPEC, 3, seed=2)
    scores, drawn = detector.score(images), detector.reconstructions(images)["x' (reconstruction)"]
    assert torch.allclose(scores.map, (images - drawn).abs(), atol=1e-6)
    assert torch.allclose(scores.parts["mse"], (images - drawn).square().mean((1, 2, 3)), atol=1e-6)


def test_no_more_than_most_are_fitted() -> None:
    detector = build(lambda: CAEOneClassSVM(SPEC, width=4, code=8, most=20)).eval()
    phase = detector.phases()[1]
    phase.begin()
    with torch.no_grad():
        for images in phantoms(SPEC, 50, seed=1).split(16):
            phase.step(Batch(images), phase.update)
    assert len(phase.choice.made()) == 20


@pytest.mark.parametrize(
    ("side", "widths"), [(32, [64, 128, 256]), (64, [64, 128, 256, 512]), (28, [64, 128]), (128, [64, 128, 256, 512, 512])]
)
def test_the_network_is_that_of_the_paper(side: int, widths: list[int]) -> None:
    spec = ImageSpec(3, side, side)
    down, up = coder(spec, "it", 64, 256), drawer(spec, "it", 64, 256)
    assert [layer.out_channels for layer in down if isinstance(layer, nn.Conv2d)] == widths
    assert [layer.out_channels for layer in up if isinstance(layer, nn.ConvTranspose2d)] == [*widths[-2::-1], 3]
    assert 4 <= up[1].unflattened_size[1] <= 7
    with torch.no_grad():
        code = down(torch.zeros((2, 3, side, side)))
        assert code.shape == (2, 256)
        assert up(code).shape == (2, 3, side, side)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(MedoodError, match="above 0"):
        CAEOneClassSVM(SPEC, other_nus=(0.0,))
    with pytest.raises(TrainingError, match="the same"):
        Training(1).fit(CAEOneClassSVM(SPEC, width=4, code=8), torch.full((4, 1, 32, 32), 0.5))
