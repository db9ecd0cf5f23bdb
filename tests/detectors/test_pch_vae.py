"""PchVAE's two levels, its loss and its scores against their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detector_trials import Training, build, phantoms
from torch import Tensor, nn
from torch.distributions import Normal

from medood.core.detector import Batch, ImageSpec
from medood.core.errors import MedoodError
from medood.detectors.reconstruction.pch_vae import PchVAE
from medood.nets.cascade import Cascaded

SPEC = ImageSpec(1, 64, 64)


def ready(**parameters: Any) -> Any:
    """With weights hardly trained, but statistics of batch norm that make something of an image."""
    detector = build(lambda: PchVAE(SPEC, **({"width": 4, "latent": 8, "branch_width": 8} | parameters)))
    return Training(1).fit(detector, phantoms(SPEC, 32, seed=1))


class Always(nn.Module):
    """Answers the same whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer, self.weight = answer, nn.Parameter(torch.zeros(()))  # no optimizer goes without a parameter

    def forward(self, asked: Tensor) -> Any:
        return self.answer


def test_the_loss_of_a_case_worked_by_hand() -> None:
    detector: Any = PchVAE(ImageSpec(1, 32, 32), width=1, latent=1, branch_width=1, sigma2=0.1, coarse_weight=2.0, beta=3.0)
    flat = torch.zeros(1, 1, 32, 32)
    moments = ((1, 1), 2.0, 1.0), ((1, 8, 2, 2), 0.0, 1.0), ((1, 8, 2, 2), 1.0, 2.0)
    main, branch, prior = (Normal(torch.full(shape, mean), torch.full(shape, deviation)) for shape, mean, deviation in moments)
    detector.cascade = Always(Cascaded(main, branch, torch.zeros(1, 4, 4, 4), flat + 1.0, flat - 1.0))  # logits 1 and -1: sigmoid(0)
    detector.prior = Always(prior)
    coarse = 1 / (1 + torch.tensor(-1.0).exp().item())
    kl_coarse = 0.5 * 4  # mean 2 from N(0, 1)
    kl_detail = 32 * (1 / (2 * 4) + 0.5 * (1 / 4 - 1 + torch.tensor(4.0).log().item()))  # N(0, 1) from N(1, 2^2), 8 x 2 x 2 times
    divergences = 3.0 * (kl_coarse + kl_detail)
    expected = (1024 * 0.25 / 0.2 + 2.0 * 1024 * coarse**2 / 0.2 + divergences) / 1024
    assert detector.phases()[0].validate(Batch(flat)).tolist() == pytest.approx([expected])
    parts = detector.terms(flat)[1]
    assert parts["elbo"].tolist() == pytest.approx([(1024 * 0.25 / 0.2 + divergences) / 1024])
    assert parts["kl_coarse"].tolist() == pytest.approx([kl_coarse])
    assert parts["kl_detail"].tolist() == pytest.approx([kl_detail])


@pytest.mark.parametrize("kind", ["elbo", "rec", "coarse"])
def test_scores_and_maps_are_those_of_the_chosen_kind(kind: str) -> None:
    detector, images = ready(score=kind, sigma2=0.02), phantoms(SPEC, 3, seed=2)
    scores = detector.score(images)
    with torch.no_grad():
        seen = detector.cascade(images)
    logits = seen.coarse if kind == "coarse" else seen.coarse + seen.detail
    error = (images - 1 / (1 + (-logits).exp())).square()
    assert torch.allclose(scores.map, error, atol=1e-6)
    expected = error.mean((1, 2, 3))
    if kind == "elbo":
        expected = expected / 0.04 + (scores.parts["kl_coarse"] + scores.parts["kl_detail"]) / 4096
    assert scores.image.numpy() == pytest.approx(expected.numpy(), rel=1e-4)


def test_the_prior_of_the_details_knows_the_coarse_variables_alone() -> None:
    detector, images = ready().double(), phantoms(SPEC, 1, seed=2).double().requires_grad_()
    seen: Cascaded = detector.cascade(images)
    prior = detector.prior(seen.context).mean
    mean = seen.main.mean
    through, direct = torch.autograd.grad(prior.sum(), (mean, images), retain_graph=True)
    by_the_mean = torch.autograd.grad(mean, images, through)[0]
    assert direct.abs().sum() > 0
    assert torch.allclose(direct, by_the_mean)  # nothing of the image reaches the prior on another way


def test_the_coarse_term_trains_the_coarse_level_alone() -> None:
    detector, images = ready(), phantoms(SPEC, 4, seed=2)
    detector.zero_grad()
    detector.terms(images)[1]["coarse"].sum().backward()
    reached = {name for name, p in detector.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert any(name.startswith("cascade.coarse") for name in reached)
    assert not any(name.startswith(("cascade.detail", "cascade.branch", "prior")) for name in reached)


def test_training_draws_both_levels_and_scoring_none() -> None:
    detector, images = ready(), phantoms(SPEC, 2, seed=2)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    with torch.no_grad():
        one, other = detector.cascade(images), detector.cascade(images)
        assert torch.equal(one.coarse, other.coarse)
        assert torch.equal(one.detail, other.detail)
        detector.train()
        assert torch.equal(detector.score(images).map, detector.score(images).map)
        assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
        one, other = detector.cascade(images), detector.cascade(images)
        assert not torch.equal(one.coarse, other.coarse)
        assert not torch.equal(one.detail, other.detail)


def test_the_network_is_cvads_generator_and_a_prior() -> None:
    with torch.device("meta"):
        detector = PchVAE(ImageSpec(1, 256, 256))
        seen = detector.cascade(torch.zeros(2, 1, 256, 256))
        prior = detector.prior(seen.context)
    generator = sum(p.numel() for p in detector.cascade.parameters())
    assert generator / 1e6 == pytest.approx(26.89, abs=0.005)
    own = (64 * 128 * 16 + 2 * 128) + 2 * (128 * 8 + 8)
    assert sum(p.numel() for p in detector.parameters()) == generator + own
    assert prior.mean.shape == seen.branch.mean.shape == (2, 8, 16, 16)


@pytest.mark.parametrize(
    ("spec", "words"), [(ImageSpec(1, 64, 64, -1.0, 1.0), "range: \\[0, 1\\]"), (ImageSpec(1, 48, 64), "multiples of 32")]
)
def test_specs_that_do_not_fit_are_refused(spec: ImageSpec, words: str) -> None:
    with pytest.raises(MedoodError, match=words):
        PchVAE(spec)
