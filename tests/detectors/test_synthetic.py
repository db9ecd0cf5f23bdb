"""What the segmentation of pasted anomalies learns from, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from detector_trials import Training, build, phantoms
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.self_supervised.synthetic import Synthetic
from medood.nets.images.pasted import Paste

SPEC = ImageSpec(1, 64, 64, 0.0, 1.0, background=0.0)


def detector(spec: ImageSpec = SPEC, **parameters: Any) -> Synthetic:
    made = build(lambda: Synthetic(spec, **({"width": 8} | parameters)))
    made.fitted_.fill_(True)
    return made  # type: ignore[return-value]


class Says(nn.Module):
    """Logits that do not depend on the image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        return self.logits.expand(len(image), 1, *image.shape[2:])


def test_a_prediction_of_the_target_has_a_lower_loss_than_any_other() -> None:
    images = phantoms(SPEC, 1, seed=1)
    found = detector(pasted=1.0, largest=0.5, anomalies=("blobs",))
    target = found.paste(images, images != 0, torch.Generator().manual_seed(2)).target
    assert (target > 0.9).any()
    right = torch.logit(target.clamp(1e-4, 1 - 1e-4))
    losses = {}
    for name, logits in {"right": right, "nothing": torch.full_like(right, -9.0), "elsewhere": right.roll(20, 3)}.items():
        found.network = Says(logits)
        losses[name] = float(found.losses(images, torch.Generator().manual_seed(2)))
    assert losses["right"] < 0.7 * min(losses["nothing"], losses["elsewhere"])


def test_what_is_said_outside_the_body_does_not_count() -> None:
    images = phantoms(SPEC, 2, seed=1)
    found, outside = detector(), images[:1] == 0
    losses = []
    for value in (-5.0, 5.0):
        found.network = Says(torch.where(outside & (images[1:] == 0), value, -3.0))
        losses.append(found.losses(images, torch.Generator().manual_seed(2)))
        scores = found.score(images)
        assert (scores.map[images == 0] == 0).all()
        assert scores.image.max() < 0.06
    assert torch.allclose(*losses)


def test_pasted_anomalies_of_other_images_are_found() -> None:
    spec = ImageSpec(1, 32, 32, 0.0, 1.0, background=0.0)
    found = detector(spec, learning_rate=5e-3, anomalies=("blobs",), largest=0.5)
    Training(20).fit(found, phantoms(spec, 64, seed=1))
    images = phantoms(spec, 40, seed=9)
    body = images != 0
    made = Paste(("blobs",), sides=(0.1, 0.5), share=1.0)(images, body, torch.Generator().manual_seed(7))
    heat = found.score(made.image).map
    assert roc_auc_score((made.target > 0.3)[body], heat[body]) > 0.9
    clean = found.score(images).image
    assert roc_auc_score([0] * 40 + [1] * 40, torch.cat([clean, found.score(made.image).image])) > 0.8


def test_the_score_is_the_mean_or_a_percentile_inside_the_body() -> None:
    images = phantoms(SPEC, 2, seed=1)
    for percentile, part in ((None, "mean"), (99.0, "p99")):
        scores = detector(percentile=percentile).score(images)
        inside = [heat[image != 0].numpy() for heat, image in zip(scores.map, images, strict=True)]
        assert torch.equal(scores.image, scores.parts[part])
        assert scores.parts["mean"].numpy() == pytest.approx([values.mean() for values in inside], abs=1e-5)
        assert scores.parts["p99"].numpy() == pytest.approx([np.percentile(values, 99) for values in inside], abs=1e-5)


def test_only_the_kinds_asked_for_are_pasted() -> None:
    assert detector(anomalies=("fpi", "poisson")).paste.kinds == ("fpi", "poisson")


def test_validation_pastes_the_same_each_time_and_training_does_not() -> None:
    batch = Batch(phantoms(SPEC, 4, seed=1))
    (phase,) = detector().phases()
    with torch.no_grad():
        assert torch.equal(phase.validate(batch), phase.validate(batch))
        first, second = (phase.step(batch, lambda loss, name: None)["loss"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("parameters", [{"anomalies": ()}, {"smallest": 0.5, "largest": 0.1}, {"pasted": 0.0}])
def test_impossible_pastes_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(MedoodError, match="Synthetic"):
        detector(**parameters)
