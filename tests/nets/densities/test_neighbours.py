"""Neighbours, coresets and random choices against brute force."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.distance import cdist

from medood.nets.densities import neighbours
from medood.nets.densities.neighbours import Reservoir, greedy_coreset, nearest, scale_of


def rows(number: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(number, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [1, 3])
def test_distances_are_those_of_brute_force_however_they_are_cut(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, bank = 5 + rows(50, 7, 0), 5 + rows(40, 7, 1)
    expected = torch.from_numpy(cdist(queries, bank)).sort(1).values[:, :k].float()
    for chunk in (1, 123, 10**6):
        monkeypatch.setattr(neighbours, "_CHUNK", chunk)
        torch.testing.assert_close(nearest(queries, bank, k), expected, atol=1e-4, rtol=1e-4)


def test_a_row_of_the_bank_is_at_no_distance() -> None:
    bank = rows(30, 5, 0)
    assert nearest(bank, bank).max() < 0.01  # the root of the rounding of a square
    assert nearest(bank, bank).min() >= 0


def test_each_row_of_a_coreset_is_the_farthest_from_those_before() -> None:
    points = rows(200, 6, 2)
    chosen = greedy_coreset(points, 25, seed=0)
    distances = torch.from_numpy(cdist(points, points))
    for number in range(1, 25):
        to_bank = distances[:, chosen[:number]].amin(1)
        assert to_bank[chosen[number]] == pytest.approx(float(to_bank.max()), rel=1e-5)
    assert greedy_coreset(points, 25, seed=0).tolist() == chosen.tolist()


def test_a_coreset_covers_clusters_that_chance_would_miss() -> None:
    centres = 20 * rows(12, 100, 3)
    points = torch.cat([centres[:1] + rows(2000, 100, 4), *(centre + rows(2, 100, 5) for centre in centres[1:])])
    chosen = points[greedy_coreset(points, 12, seed=0)]
    assert nearest(centres, chosen).max() < 25  # every cluster has one; the centres are about 280 apart


@pytest.mark.parametrize("number", [5, 9])
def test_a_coreset_of_equal_rows_takes_none_twice(number: int) -> None:
    chosen = greedy_coreset(torch.ones(5, 3), number, seed=0)
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4]


def test_a_reservoir_keeps_every_row_alike() -> None:
    counts = torch.zeros(60)
    for seed in range(400):
        reservoir = Reservoir(12, seed)
        for part in torch.arange(60.0)[:, None].split(7):
            reservoir.add(part)
        assert reservoir.seen == 60
        kept = reservoir.rows[:, 0].long()
        assert len(kept.unique()) == 12
        counts[kept] += 1
    assert counts.min() > 80 - 4 * 8.1 > 0  # 400 x 12 / 60 = 80 each, with a deviation of 8
    assert counts.max() < 80 + 4 * 8.1


def test_a_reservoir_that_is_not_full_has_what_was_added() -> None:
    reservoir = Reservoir(10, 0)
    assert len(reservoir.rows) == 0
    reservoir.add(torch.arange(6.0)[:, None])
    assert reservoir.rows[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_column_that_hardly_varies_is_not_blown_up() -> None:
    points = rows(500, 4, 6) * torch.tensor([1.0, 2.0, 1e-6, 0.0]) + 3
    mean, divisor = scale_of(points)
    torch.testing.assert_close(mean, points.mean(0))
    torch.testing.assert_close(divisor[:2], points.std(0)[:2])
    assert divisor[2] == divisor[3] == pytest.approx(0.1 * float(points.std(0).mean()))
    assert (scale_of(torch.ones(5, 3))[1] == 1).all()


def test_columns_of_different_units_each_have_their_own_deviation() -> None:
    rows = torch.randn((200, 3), generator=torch.Generator().manual_seed(0)) * torch.tensor([1e4, 0.1, 0.0]) + 5
    mean, divisor = scale_of(rows, apart=True)
    scaled = (rows - mean) / divisor
    assert torch.allclose(scaled[:, :2].std(0), torch.ones(2), rtol=1e-3)
    assert divisor[2] == 1
    assert scale_of(rows)[1][1] > 100  # of channels of a network, what hardly varies is not blown up
