"""The denoising autoencoder: where the noise goes, what counts, and what the map shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor, nn

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.reconstruction.dae import DAE

SPEC = ImageSpec(1, 64, 64, 0.0, 1.0, background=0.0)
WIDE = ImageSpec(1, 64, 64, -200.0, 1000.0, background=-200.0)


class Constant(nn.Module):
    """Makes the same of every image."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: Tensor) -> Tensor:
        return torch.full_like(image, self.value)


def detector(spec: ImageSpec = SPEC, **parameters: Any) -> DAE:
    made = build(lambda: DAE(spec, **({"width": 8} | parameters)))
    made.fitted_.fill_(True)
    return made  # type: ignore[return-value]


@pytest.mark.parametrize("spec", [SPEC, WIDE])
def test_noise_is_a_share_of_the_range_and_inside_the_body_alone(spec: ImageSpec) -> None:
    images = phantoms(spec, 16, seed=1)
    noise = (detector(spec, noise=0.15).spoil(images) - images) / (spec.high - spec.low)
    body = images != spec.low
    assert (noise[~body] == 0).all()
    assert float(noise[body].std()) == pytest.approx(0.1, rel=0.2)


def test_the_loss_counts_the_clean_image_inside_the_body_alone() -> None:
    dae, images = detector(), phantoms(SPEC, 3, seed=1)
    dae.network = Constant(0.5)
    expected = torch.stack([(image[image != 0] - 0.5).square().mean() for image in images])
    torch.testing.assert_close(dae.losses(images), expected)


def test_the_map_is_the_difference_from_the_shown_reconstruction() -> None:
    images = phantoms(SPEC, 2, seed=2)
    dae = detector(median=0)
    expected = torch.where(images != 0, (images - dae.network(images)).abs(), 0.0)
    torch.testing.assert_close(dae.score(images).map, expected.detach())
    (made,) = dae.reconstructions(images).values()
    torch.testing.assert_close(made, torch.where(images != 0, dae.network(images).clamp(0, 1), 0.0).detach())


def test_the_median_takes_single_pixels_out_and_leaves_lesions() -> None:
    images = torch.full((1, 1, 64, 64), 0.5)
    images[0, 0, 10, 10] = 1.0
    images[0, 0, 30:40, 30:40] = 1.0
    dae = detector(ImageSpec(1, 64, 64), median=5)
    dae.network = Constant(0.5)
    heat = dae.score(images).map[0, 0]
    assert heat[10, 10] == 0
    assert (heat[32:38, 32:38] == 0.5).all()
    with pytest.raises(MedoodError, match="odd"):
        detector(median=4)


def test_it_learns_to_take_coarse_noise_out_and_not_to_copy() -> None:
    spec = ImageSpec(1, 32, 32, 0.0, 1.0, background=0.0)
    dae = detector(spec, learning_rate=5e-3, cells=8)
    Training(12).fit(dae, phantoms(spec, 96, seed=1))
    test = phantoms(spec, 16, seed=9)
    random = torch.Generator().manual_seed(1)
    noisy = dae.spoil(test, random)
    body = test != 0
    with torch.no_grad():
        left = (dae.network(noisy) - test)[body].square().mean()
        clean = (dae.network(test) - test)[body].square().mean()
    assert left < 0.35 * (noisy - test)[body].square().mean()
    assert clean < left


def test_validation_sees_the_same_noise_each_time_and_training_does_not() -> None:
    dae, batch = detector(), Batch(phantoms(SPEC, 4, seed=1))
    (phase,) = dae.phases()
    with torch.no_grad():
        torch.testing.assert_close(phase.validate(batch), phase.validate(batch), rtol=0, atol=0)
        first, second = (phase.step(batch, lambda loss, name: None)["loss"] for _ in range(2))
    assert first != second
