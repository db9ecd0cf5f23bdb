"""Dirichlet distributions: the fit against Minka's fixed point, and classifiers that are too sure."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet

from medood.nets.densities.dirichlet import FLOOR, LARGEST, fit_dirichlet, log_probabilities


def fixed_point(mean_log: Tensor) -> Tensor:
    """The parameters of greatest likelihood by the method of the paper, from any start."""
    alpha = torch.ones_like(mean_log)
    for _ in range(20_000):
        after = inverse_digamma(torch.digamma(alpha.sum()) + mean_log)
        if (after - alpha).norm() < 1e-11:
            break
        alpha = after
    return alpha


def inverse_digamma(y: Tensor) -> Tensor:
    x = torch.where(y >= -2.22, y.exp() + 0.5, -1 / (y - torch.digamma(torch.ones_like(y))))
    for _ in range(5):
        x = x - (torch.digamma(x) - y) / torch.polygamma(1, x)
    return x


@pytest.mark.parametrize(("classes", "scale", "favourite"), [(2, 1, 1), (72, 1, 1), (72, 0.05, 200), (8, 0.01, 100), (9, 5, 40)])
def test_newton_finds_what_the_fixed_point_finds(classes: int, scale: float, favourite: float) -> None:
    random = torch.Generator().manual_seed(0)
    alpha = scale * torch.rand(classes, generator=random).double() + 1e-3
    alpha[0] *= favourite
    gamma = torch._standard_gamma(alpha.expand(500, -1), generator=random)
    samples = (gamma / gamma.sum(1, keepdim=True)).clamp(min=1e-30)
    found = fit_dirichlet(samples.mean(0), samples.log().mean(0))
    assert (found / fixed_point(samples.log().mean(0)) - 1).abs().max() < 1e-6


def test_nothing_near_is_more_likely() -> None:
    samples = Dirichlet(torch.tensor([0.3, 2.0, 9.0]).double()).sample((400,))
    found = fit_dirichlet(samples.mean(0), samples.log().mean(0))
    best = Dirichlet(found).log_prob(samples).sum()
    for factor in (0.98, 1.02):
        for k in range(3):
            other = found.clone()
            other[k] *= factor
            assert Dirichlet(other).log_prob(samples).sum() < best


def test_many_distributions_are_fitted_as_each_alone() -> None:
    samples = Dirichlet(torch.rand(4, 5).double() + 0.1).sample((300,))
    together = fit_dirichlet(samples.mean(0), samples.log().mean(0))
    alone = torch.stack([fit_dirichlet(each.mean(0), each.log().mean(0)) for each in samples.unbind(1)])
    assert torch.allclose(together, alone, rtol=1e-9)


def test_samples_that_are_all_the_same_have_none() -> None:
    sure = log_probabilities(torch.tensor([[1e4, 0.0, 0.0]]).expand(50, -1))
    spread = log_probabilities(torch.randn(50, 3))
    logs = torch.stack([sure, spread])
    found = fit_dirichlet(logs.exp().mean(1), logs.mean(1))
    assert found[0].isnan().all()
    assert found[1].isfinite().all()


def test_parameters_stay_finite_and_keep_their_mean() -> None:
    logits = 12 * torch.eye(6).double()[0] + 1e-3 * torch.randn(200, 6).double()
    logs = log_probabilities(logits)
    found = fit_dirichlet(logs.exp().mean(0), logs.mean(0))
    assert found.max().item() == pytest.approx(LARGEST)
    assert (found / found.sum()).tolist() == pytest.approx(logs.exp().mean(0).tolist(), rel=1e-3)


def test_no_probability_is_below_the_floor() -> None:
    logs = log_probabilities(torch.tensor([[1000.0, 0.0], [0.0, 1.0]]))
    assert logs.dtype == torch.float64
    assert logs[0].tolist() == [0.0, FLOOR]
    assert pytest.approx(math.log(1e-30)) == FLOOR
    assert logs[1, 1] == pytest.approx(-math.log1p(math.exp(-1)), abs=1e-12)
