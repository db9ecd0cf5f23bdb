"""The VAE's loss, divergence and scores against their definitions, and its size against the published one."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.reconstruction.vae import VAE
from medood.nets.densities.gaussian import GaussianHead, divergence, draw

SPEC = ImageSpec(1, 64, 64)


def ready(spec: ImageSpec = SPEC, epochs: int = 1, **parameters: Any) -> Any:
    """With weights hardly trained, but statistics of batch norm that make something of an image."""
    detector = build(lambda: VAE(spec, **({"width": 4} | parameters)))
    return Training(epochs).fit(detector, phantoms(spec, 32, seed=1))


class Always(nn.Module):
    """Answers the same whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.weight = answer, nn.Parameter(torch.zeros(()))  # no optimizer goes without a parameter

    def forward(self, asked: Tensor) -> Any:
        return self.answer


def head(mean: list[float], logvar: list[float]) -> GaussianHead:
    """A head that reads these off any single feature."""
    layer = GaussianHead(lambda: nn.Linear(1, len(mean)))
    for linear, bias in ((layer.mean, mean), (layer.logvar, logvar)):
        nn.init.zeros_(linear.weight)
        linear.bias.data = torch.tensor(bias)
    return layer


def test_the_divergence_by_hand_and_by_a_full_covariance() -> None:
    posterior = head([1.0, -2.0, 0.0], [0.0, log(4), log(0.25)])(torch.ones(2, 1))
    by_hand = 0.5 * (1 + 1 - 1 - 0) + 0.5 * (4 + 4 - 1 - log(4)) + 0.5 * (0 + 0.25 - 1 - log(0.25))
    assert divergence(posterior).tolist() == pytest.approx([by_hand, by_hand])
    prior = Normal(torch.tensor([[0.5, 0.0, 1.0]]), torch.tensor([[2.0, 1.0, 0.5]]))
    full = [MultivariateNormal(one.mean[0], torch.diag(one.variance[0])) for one in (posterior, prior)]
    assert divergence(posterior, prior).tolist() == pytest.approx([kl_divergence(*full).item()] * 2)


def test_variances_stay_within_bounds_and_divergences_finite() -> None:
    posterior = head([0.0, 0.0], [1e6, -1e6])(torch.ones(1, 1))
    assert posterior.variance[0].log().tolist() == pytest.approx([10.0, -10.0], rel=1e-5)
    assert torch.isfinite(divergence(posterior)).all()
    in_halves = GaussianHead(lambda: nn.Linear(4, 2)).bfloat16()(torch.ones(1, 4, dtype=torch.bfloat16))
    assert divergence(in_halves).dtype == torch.float32


def test_latent_variables_are_drawn_with_their_mean_and_deviation() -> None:
    posterior = head([3.0, -1.0], [log(4), 0.0])(torch.ones(20_000, 1))
    torch.manual_seed(0)
    drawn = draw(posterior, random=True)
    assert drawn.mean(0).tolist() == pytest.approx([3.0, -1.0], abs=0.05)
    assert drawn.std(0).tolist() == pytest.approx([2.0, 1.0], abs=0.05)
    assert torch.equal(draw(posterior, random=False), posterior.mean)


def test_the_loss_of_a_case_worked_by_hand() -> None:
    spec = ImageSpec(3, 32, 32)
    detector: Any = VAE(spec, width=1, latent=2, sigma2=0.1, beta=3.0)
    image = torch.zeros(2, 3, 32, 32)
    image[0, 0, 0, 0] = 1.0  # sum of squared errors 0.25 everywhere, that is 768
    image[1] = 0.9
    detector.decoder = Always(torch.full((2, 3, 32, 32), 0.5))
    detector.encoder = Always(Normal(torch.tensor([[1.0, 0.0], [2.0, 2.0]]), torch.ones(2, 2)))
    values = 3 * 32 * 32
    expected = [(values * 0.25 / (2 * 0.1) + 3 * 0.5) / values, (values * 0.16 / (2 * 0.1) + 3 * 4.0) / values]
    phase = detector.phases()[0]
    assert phase.validate(Batch(image)).tolist() == pytest.approx(expected)
    stepped: list[float] = []
    losses = phase.step(Batch(image), lambda loss, name: stepped.append(loss.item()))
    assert stepped == pytest.approx([sum(expected) / 2])
    assert float(losses["kl"]) == pytest.approx((0.5 + 4.0) / 2)
    assert float(losses["rec"]) == pytest.approx((0.25 + 0.16) / 2)


def test_by_default_the_loss_is_that_of_the_released_code() -> None:
    detector, images = ready(), phantoms(SPEC, 3, seed=2)
    parts = detector.score(images).parts
    with torch.no_grad():
        reconstruction, posterior = detector.rebuild(images)
    kl = -0.5 * (1 + posterior.variance.log() - posterior.mean**2 - posterior.variance).sum(1)
    expected = (images - reconstruction).square().mean((1, 2, 3)) + kl / 4096
    assert parts["elbo"].numpy() == pytest.approx(expected.numpy(), rel=1e-5)


def test_training_draws_and_scoring_does_not() -> None:
    detector, images = ready(), phantoms(SPEC, 2, seed=2)
    buffers = {name: value.clone() for name, value in detector.named_buffers()}
    with torch.no_grad():
        assert torch.equal(detector.rebuild(images)[0], detector.rebuild(images)[0])
    detector.train()
    first, again = detector.score(images), detector.score(images)
    assert torch.equal(first.map, again.map)
    assert all(torch.equal(value, buffers[name]) for name, value in detector.named_buffers())
    with torch.no_grad():
        assert not torch.equal(detector.rebuild(images)[0], detector.rebuild(images)[0])


@pytest.mark.parametrize("kind", ["rec", "elbo", "kl"])
def test_the_chosen_part_is_the_score(kind: str) -> None:
    detector, images = ready(ImageSpec(3, 64, 96), score=kind), phantoms(ImageSpec(3, 64, 96), 2, seed=2)
    scores = detector.score(images)
    assert torch.equal(scores.image, scores.parts[kind])
    assert set(scores.parts) == {"rec", "elbo", "kl"}
    with torch.no_grad():
        error = (images - detector.rebuild(images)[0]).square().mean(1, keepdim=True)
    assert scores.parts["rec"].numpy() == pytest.approx(error.mean((1, 2, 3)).numpy(), rel=1e-5)
    assert scores.map is None if kind == "kl" else torch.allclose(scores.map, error, atol=1e-7)


@pytest.mark.parametrize(("kind", "part"), [("grad_rec", "rec"), ("grad_kl", "kl"), ("grad_elbo", "elbo"), ("combi", "kl")])
def test_gradient_maps_are_derivatives_of_each_images_part(kind: str, part: str) -> None:
    detector, images = ready(score=kind, sigma2=0.05).double(), phantoms(SPEC, 2, seed=2).double()
    scores = detector.score(images)
    with torch.no_grad():
        error = (images - detector.rebuild(images)[0]).square()
    for row, column in ((32, 32), (20, 41), (3, 3)):
        step = torch.zeros_like(images)
        step[:, :, row, column] = 1e-6
        above, below = (detector.score(images + sign * step).parts[part] for sign in (1, -1))
        expected = (above - below).abs() / 2e-6 * (error[:, 0, row, column] if kind == "combi" else 1.0)
        assert scores.map[:, 0, row, column].numpy() == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-9)
    assert scores.image.numpy() == pytest.approx(scores.map.mean((1, 2, 3)).numpy())
    assert not images.requires_grad


def test_less_noise_in_the_decoder_keeps_more_in_the_latent_variables() -> None:
    images = phantoms(SPEC, 16, seed=2)
    noisy, precise = (ready(epochs=6, learning_rate=5e-3, sigma2=sigma2).score(images).parts["kl"].mean() for sigma2 in (0.5, 0.005))
    assert precise > 3 * noisy


def test_the_network_has_the_known_size() -> None:
    with torch.device("meta"):
        detector = VAE(ImageSpec(1, 256, 256), latent=512)
        posterior = detector.encoder(torch.zeros(2, 1, 256, 256))
    linear = sum(p.numel() for layer in detector.modules() if isinstance(layer, nn.Linear) for p in layer.parameters())
    assert sum(p.numel() for p in detector.parameters()) / 1e6 == pytest.approx(26.58, abs=0.005)
    assert linear / 1e6 == pytest.approx(25.18, abs=0.005)
    assert posterior.mean.shape == posterior.variance.shape == (2, 512)


@pytest.mark.parametrize(
    ("spec", "words"), [(ImageSpec(1, 64, 64, -1.0, 1.0), "range: \\[0, 1\\]"), (ImageSpec(1, 48, 64), "multiples of 32")]
)
def test_specs_that_do_not_fit_are_refused(spec: ImageSpec, words: str) -> None:
    with pytest.raises(MedoodError, match=words):
        VAE(spec)
