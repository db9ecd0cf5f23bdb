"""A Gaussian mixture against scikit-learn's and scipy's, also where densities are too small for a number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from medood.nets.densities.mixture import Mixture


def rows(count: int = 200, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    values = torch.randn((count, 3), generator=random, dtype=torch.float64) * torch.tensor([1.0, 0.1, 3.0])
    values[: count // 2] += torch.tensor([4.0, 0.0, -2.0])
    return values


def test_mixture_and_energy_are_those_of_scikit_learn() -> None:
    given = rows()
    shares = torch.rand((200, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shares /= shares.sum(1, keepdim=True)
    mixture = Mixture.of(given, shares, 1e-3)
    reference = GaussianMixture(2, reg_covar=1e-3)
    reference._initialize(given.numpy(), shares.numpy())
    assert mixture.weights.numpy() == pytest.approx(reference.weights_)
    assert mixture.means.numpy() == pytest.approx(reference.means_)
    assert (mixture.factors @ mixture.factors.mT).numpy() == pytest.approx(reference.covariances_)
    others = rows(50, seed=2)
    assert mixture.energy(others).numpy() == pytest.approx(-reference.score_samples(others.numpy()))
    variances = np.diagonal(reference.covariances_, axis1=1, axis2=2)
    assert float(mixture.inverse_variances()) == pytest.approx((1 / variances).sum())


def test_energies_have_no_ceiling_and_no_ties() -> None:
    """A density with a constant added to it cannot be told from the constant: beyond it all images would be equally odd."""
    mixture = Mixture.of(rows(), torch.full((200, 2), 0.5, dtype=torch.float64), 1e-3)
    far = torch.tensor([[10.0**k, 0.0, 0.0] for k in range(1, 9)], dtype=torch.float64)
    energies = mixture.energy(far)
    assert bool(energies.isfinite().all())
    assert bool((energies.diff() > 0).all())
    assert float(energies[-1]) > 1e14


def test_small_determinants_count_in_full() -> None:
    """In a form with something added to the determinant a covariance of 1e-40 would be lost."""
    factors = 1e-5 * torch.eye(4, dtype=torch.float64)[None]
    mixture = Mixture(torch.ones(1, dtype=torch.float64), torch.zeros((1, 4), dtype=torch.float64), factors)
    at = torch.tensor([[0.0, 0, 0, 0], [2e-5, 0, 0, 0]], dtype=torch.float64)
    expected = -multivariate_normal(np.zeros(4), 1e-10 * np.eye(4)).logpdf(at.numpy())
    assert mixture.energy(at).numpy() == pytest.approx(expected)


def test_a_component_to_which_nothing_belongs_says_nothing() -> None:
    given = rows()
    shares = torch.zeros((200, 3), dtype=torch.float64)
    shares[:, :2] = 0.5
    three, two = Mixture.of(given, shares, 1e-3), Mixture.of(given, shares[:, :2], 1e-3)
    assert three.energy(given).numpy() == pytest.approx(two.energy(given).numpy())


def test_equal_rows_and_large_numbers_still_have_a_factor() -> None:
    shares = torch.ones((5, 1), dtype=torch.float64)
    for value in (0.0, 1e6, 1e9):
        energy = Mixture.of(torch.full((5, 3), value, dtype=torch.float64), shares, 1e-6).energy(rows(4))
        assert bool(energy.isfinite().all())
    steep = torch.tensor([[1e9, 1e9, 0.0], [-1e9, -1e9, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert bool(Mixture.of(steep, shares[:3], 1e-6).energy(steep).isfinite().all())
