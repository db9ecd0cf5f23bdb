"""Flows: their determinants by automatic differentiation, their inverse, their total mass, and FrEIA's own block."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor, nn

from medood.nets.coupling_flow import CarefulAdam, CouplingFlow


def flow(features: int, context: int = 0, **changes: object) -> CouplingFlow:
    torch.manual_seed(0)
    made = CouplingFlow(features, context, blocks=3, width=8, **changes).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made


def test_a_new_block_scales_nothing() -> None:
    torch.manual_seed(0)
    new = CouplingFlow(4, blocks=1, width=8).flow.transform(None)
    block = new.transforms[1]
    assert block(torch.ones(4)).tolist() == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("coupling", ["tanh", "scaled_tanh", "spline"])
@pytest.mark.parametrize(("features", "context"), [(2, 0), (5, 0), (4, 3)])
def test_densities_are_those_of_the_change_of_variables(coupling: str, features: int, context: int) -> None:
    made = flow(features, context, coupling=coupling)
    rows, given = torch.randn(4, features).double(), torch.randn(4, context).double() if context else None
    found = made.log_density(rows, given)
    for number, row in enumerate(rows):
        change = made.flow.transform(None if given is None else given[number])
        jacobian = torch.autograd.functional.jacobian(change, row)
        normal = -0.5 * change(row).square().sum() - features / 2 * math.log(2 * math.pi)
        torch.testing.assert_close(found[number], normal + jacobian.det().abs().log(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(change.inv(change(row)), row, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("coupling", ["tanh", "spline"])
@torch.no_grad()
def test_a_density_has_a_mass_of_one(coupling: str) -> None:
    step = 0.1
    line = torch.arange(-12, 12, step).double()
    plane = torch.cartesian_prod(line, line)
    assert float(flow(2, coupling=coupling).log_density(plane).exp().sum()) * step**2 == pytest.approx(1, abs=0.01)
    fine = torch.arange(-12, 12, 0.001).double()  # new splines of single numbers are steep
    assert float(flow(1, coupling=coupling).log_density(fine[:, None]).exp().sum()) * 0.001 == pytest.approx(1, abs=0.01)


def test_what_a_density_is_conditional_on_matters() -> None:
    made, rows = flow(4, 2), torch.zeros(1, 4)
    assert made.log_density(rows, torch.zeros(1, 2)) != made.log_density(rows, torch.ones(1, 2))


def test_densities_stay_exact_where_all_else_is_rounded() -> None:
    torch.manual_seed(0)
    made, rows = CouplingFlow(6, blocks=2, width=8), torch.randn(5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.log_density(rows.bfloat16().float()), made.log_density(rows.bfloat16()))
        assert made.log_density(rows).dtype == torch.float32


def test_what_is_no_number_has_a_density_that_is_none() -> None:
    rows = torch.tensor([[0.0, 0.0], [float("nan"), 0.0]]).double()
    assert flow(2).log_density(rows).isfinite().tolist() == [True, False]


def test_it_is_saved_with_its_permutations() -> None:
    made, rows = flow(5), torch.randn(3, 5).double()
    other = CouplingFlow(5, blocks=3, width=8).double()
    assert not torch.equal(other.log_density(rows), made.log_density(rows))
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.log_density(rows), made.log_density(rows))
    assert torch.equal(pickle.loads(pickle.dumps(made)).log_density(rows), made.log_density(rows))


def test_a_block_is_that_of_freia() -> None:
    freia = pytest.importorskip("FrEIA.modules", reason="FrEIA, an oracle for tests alone, is not installed")
    torch.manual_seed(0)
    features, half = 7, 3
    ours = flow(features)
    change, gain, permutation = ours.flow.transform.transforms[:3]
    theirs = freia.AllInOneBlock([(features,)], subnet_constructor=_perceptron).double()
    with torch.no_grad():
        for mine, other in zip(change.hyper.parameters(), theirs.subnet.parameters(), strict=True):
            interleaved = mine.shape[0] == 2 * half  # a shift and a scale by turns, where FrEIA has all scales and then all shifts
            other.copy_(torch.cat([mine[1::2], mine[0::2]]) if interleaved else mine)
        raw, offset = (value.detach() for value in gain.parameters())
        theirs.global_scale.copy_(raw[None])
        theirs.global_offset.copy_(offset[None])
        order = next(permutation.buffers())
        theirs.w_perm.copy_(torch.eye(features).double()[order])
    rows = torch.randn(6, features).double()
    block = [part(None) for part in (change, gain, permutation)]
    found, total = rows, torch.zeros(6).double()
    for part in block:
        found, more = part.call_and_ladj(found)
        total = total + more
    (expected,), determinant = theirs([rows])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(total, determinant, rtol=1e-6, atol=1e-6)


def _perceptron(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Linear(before, 8), nn.ReLU(), nn.Linear(8, after))


def stepped(adam: CarefulAdam, weight: Tensor, gradient: list[float]) -> list[float]:
    weight.grad = torch.tensor(gradient)
    adam.step()
    return weight.detach().tolist()


def test_a_step_with_gradients_that_are_no_numbers_is_left_out() -> None:
    weight = nn.Parameter(torch.zeros(2))
    adam = CarefulAdam([weight], 0.1)
    before = stepped(adam, weight, [1.0, -1.0])
    assert adam.skipped == 0
    for bad in (float("nan"), float("inf")):
        assert stepped(adam, weight, [1.0, bad]) == before
        assert adam.skipped == 1
    assert stepped(adam, weight, [1.0, -1.0]) != before
    assert adam.skipped == 0


def test_gradients_are_scaled_down_to_a_norm() -> None:
    weight = nn.Parameter(torch.zeros(2))
    stepped(CarefulAdam([weight], 0.1, clip_norm=10.0), weight, [300.0, 400.0])
    assert weight.grad.tolist() == pytest.approx([6.0, 8.0], rel=1e-4)
