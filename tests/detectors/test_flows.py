"""Densities with known truth, and what keeps their learning in bounds."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from detector_trials import extractor, phantoms
from scipy.stats import spearmanr
from seeds import shifted
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from medood.core.detector import Batch, Detector, Epoch, ImageSpec
from medood.core.errors import TrainingError
from medood.detectors.flows.densities import where
from medood.detectors.flows.rows import principal_axes
from medood.features.columns import Columns
from medood.recipe.catalogue import detectors

SMALL = {"components": 0, "blocks": 3, "width": 16, "noise": 0.0, "learning_rate": 1e-2}
FAST = {"schedule": "cosine", "tensorboard": False}


def table(rows: Tensor) -> Tensor:
    """Rows (n, d) as images of one pixel."""
    return rows[:, :, None, None]


def made(name: str, columns: int, **parameters: Any) -> Detector:
    spec = ImageSpec(columns, 1, 1, -3e38, 3e38)
    torch.manual_seed(shifted(0))
    return detectors()[name].load()(spec, Columns(spec), **parameters)


def normal(count: int, mean: list[float], deviation: float, seed: int) -> Tensor:
    centre = torch.tensor(mean)
    return centre + deviation * torch.randn((count, len(mean)), generator=torch.Generator().manual_seed(shifted(seed)))


def density(detector: Any, points: Tensor) -> Tensor:
    """(n,) of points (n, d), in their own units."""
    return (-detector.score(table(points)).image).exp() / detector.divisor_.prod()


def outnumbered(p: Any, q: Any, points: Tensor, cell: float) -> Tensor:
    """The positive part of the difference of two densities, made a density again, by brute force."""
    found = (p.log_prob(points).exp() - q.log_prob(points).exp()).clamp(min=0)
    return found / (found.sum() * cell)


LINE = torch.linspace(-8, 10, 1801)[:, None]
PLANE = torch.cartesian_prod(torch.linspace(-4, 4, 161), torch.linspace(-4, 4, 161))
WIDE = MultivariateNormal(torch.zeros(2), torch.eye(2))
NARROW = MultivariateNormal(torch.zeros(2), 0.25 * torch.eye(2))


def contrastive(columns: int, rows: Tensor, others: Tensor, epsilon: float) -> Detector:
    detector = made(
        "contrastive_flow", columns, coupling="spline", bound="absolute", epsilon=epsilon, epochs=2, contrast_epochs=30, **SMALL
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a bound that is meant to be wrong
        return detector.fit(table(rows), contrast=table(others), batch_size=400, **FAST)


@pytest.mark.parametrize("epsilon", [-10.0, -5.0])
def test_on_a_line_it_becomes_the_difference_of_the_densities(epsilon: float) -> None:
    p, q = Normal(0.0, 1.0), Normal(1.0, 2.0)
    detector = contrastive(1, normal(4000, [0.0], 1.0, 1), normal(4000, [1.0], 2.0, 2), epsilon)
    found, step = density(detector, LINE), 0.01
    truth = outnumbered(p, q, LINE[:, 0], step)
    assert float(found.sum()) * step == pytest.approx(1, abs=0.02)
    to_truth, to_p = (float((found - other).abs().sum()) * step for other in (truth, p.log_prob(LINE[:, 0]).exp()))
    assert to_truth < 0.8 * to_p


def test_with_a_bound_that_nothing_is_above_it_becomes_the_plain_density() -> None:
    p, q = Normal(0.0, 1.0), Normal(1.0, 2.0)
    found = density(contrastive(1, normal(4000, [0.0], 1.0, 1), normal(4000, [1.0], 2.0, 2), 0.0), LINE)
    truth = outnumbered(p, q, LINE[:, 0], 0.01)
    to_truth, to_p = (float((found - other).abs().sum()) * 0.01 for other in (truth, p.log_prob(LINE[:, 0]).exp()))
    assert to_p < 0.3
    assert to_p < to_truth


def test_in_the_plane_it_becomes_the_difference_of_the_densities() -> None:
    detector = contrastive(2, normal(4000, [0.0, 0.0], 0.5, 3), normal(4000, [0.0, 0.0], 1.0, 4), -6.0)
    found, cell = density(detector, PLANE), 0.05**2
    truth = outnumbered(NARROW, WIDE, PLANE, cell)
    to_truth, to_p = (float((found - other).abs().sum()) * cell for other in (truth, NARROW.log_prob(PLANE).exp()))
    assert to_truth < 0.8 * to_p


@pytest.mark.parametrize("coupling", ["tanh", "spline"])
def test_a_flow_orders_as_the_true_density_does(coupling: str) -> None:
    truth = MultivariateNormal(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([[2.0, 1.2, 0.0], [1.2, 1.0, 0.3], [0.0, 0.3, 0.5]]))
    torch.manual_seed(shifted(5))
    rows, more, tests = (truth.sample((count,)) for count in (3000, 500, 500))
    detector = made("flow", 3, coupling=coupling, **SMALL | {"blocks": 8})
    detector.fit(table(rows), table(more), batch_size=300, epochs=12, **FAST)
    found = detector.score(table(tests)).image
    assert spearmanr(found, -truth.log_prob(tests)).statistic > 0.95
    expected = -truth.log_prob(tests) - detector.divisor_.log().sum()  # in nats, the constant included
    assert float((found - expected).mean().abs()) < 0.3


def test_principal_components_do_not_change_what_is_unlikely() -> None:
    random = torch.Generator().manual_seed(0)
    turned = torch.linalg.qr(torch.randn((6, 6), generator=random)).Q
    rows = torch.randn((50, 6), generator=random) * torch.tensor([3.0, 2.0, 1.0, 1.0, 0.5, 0.2]) @ turned
    rows -= rows.mean(0)
    components = rows @ principal_axes(rows, 6)
    torch.testing.assert_close(components.T @ components / 50, torch.eye(6), atol=1e-3, rtol=0)
    wide = torch.randn((4, 30), generator=random)
    wide -= wide.mean(0)
    few = wide @ principal_axes(wide, 8)
    torch.testing.assert_close(few.T @ few / 4, torch.diag(torch.tensor([1.0] * 3 + [0.0] * 5)), atol=1e-3, rtol=0)


def test_mse_is_the_distance_from_the_mean_in_deviations() -> None:
    detector = made("mse", 2).fit(table(torch.tensor([[0.0, 10.0], [2.0, 30.0]])))
    deviation = torch.tensor([2.0, 200.0]).sqrt()
    expected = (((torch.tensor([3.0, 0.0]) - torch.tensor([1.0, 20.0])) / deviation) ** 2).mean()
    assert detector.score(table(torch.tensor([[3.0, 0.0]]))).image.tolist() == pytest.approx([float(expected)])


def test_the_ratio_of_means_is_linear_and_has_no_far_side() -> None:
    rows, others = normal(400, [0.0, 0.0], 1.0, 1), normal(400, [3.0, 0.0], 1.0, 2)
    detector = made("mse_ratio", 2).fit(table(rows), contrast=table(others))
    along = detector.score(table(torch.tensor([[-6.0, 0.0], [-3.0, 0.0], [0.0, 0.0], [3.0, 0.0], [6.0, 0.0]]))).image
    steps = along.diff()
    assert (steps > 0).all()
    torch.testing.assert_close(steps, steps[:1].expand(4), rtol=1e-3, atol=1e-3)
    with pytest.raises(TrainingError, match="mixes features"):
        made("mse_ratio", 2).fit(table(rows), contrast="product_of_marginals")


@pytest.mark.parametrize("from_contrast", [False, True])
def test_the_ratio_of_flows_orders_as_the_true_ratio_does(from_contrast: bool) -> None:
    p, q = (MultivariateNormal(torch.tensor(mean), torch.eye(2)) for mean in ([0.0, 0.0], [2.0, 1.0]))
    detector = made("flow_ratio", 2, from_contrast=from_contrast, **SMALL)
    rows, others = normal(3000, [0.0, 0.0], 1.0, 6), normal(3000, [2.0, 1.0], 1.0, 7)
    detector.fit(table(rows), contrast=table(others), batch_size=300, epochs=12, **FAST)
    tests = normal(500, [1.0, 0.5], 1.2, 8)
    assert spearmanr(detector.score(table(tests)).image, q.log_prob(tests) - p.log_prob(tests)).statistic > 0.9


def test_a_flow_may_begin_where_that_of_the_contrast_ended() -> None:
    detector, points = made("flow_ratio", 4, from_contrast=True, **SMALL), torch.randn(3, 4)
    _, _, last = detector.phases()
    assert not torch.equal(detector.flow.log_density(points), detector.other_flow.log_density(points))
    last.begin()
    assert torch.equal(detector.flow.log_density(points), detector.other_flow.log_density(points))


def test_outlier_exposure_opens_the_margin_that_a_plain_flow_lacks() -> None:
    rows, others = normal(2000, [0.0, 0.0], 1.0, 9), normal(2000, [2.5, 0.0], 0.5, 10)
    settings = {"contrast": table(others), "batch_size": 200} | FAST
    detector = made("outlier_exposure", 2, margin=3.0, exposure_epochs=12, epochs=5, **SMALL).fit(table(rows), **settings)
    plain = made("flow", 2, epochs=5, **SMALL).fit(table(rows), batch_size=200, **FAST)

    def gap(of: Detector) -> float:
        inside, outside = (of.score(table(points)).image.median() for points in (rows, others))
        return float(outside - inside)

    assert gap(detector) > gap(plain) + 1.0
    torch.testing.assert_close(detector.missing(torch.tensor([5.0, 5.0]), torch.tensor([1.0, -2.0])), torch.tensor([2.0, 0.0]))


def test_the_margin_moves_the_contrast_alone() -> None:
    detector = made("outlier_exposure", 2)
    densities = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    detector.missing(*densities).sum().backward()
    assert densities[0].grad is None
    assert densities[1].grad.tolist() == [1.0] * 3


def test_bounds_are_counted_as_they_say() -> None:
    log_densities = torch.arange(101.0)  # whose tenth percentile is 10
    assert made("contrastive_flow", 50).bound_of(log_densities) == pytest.approx(10 - 50)
    assert made("contrastive_flow", 50, nats=0.5).bound_of(log_densities) == pytest.approx(10 - 25)
    assert made("contrastive_flow", 1).bound_of(log_densities) == pytest.approx(10 - math.log(10))
    assert made("contrastive_flow", 50, bound="quantile").bound_of(log_densities) == pytest.approx(10 - 2.3)
    assert made("contrastive_flow", 50, bound="quantile", offset=2.3).bound_of(log_densities) == pytest.approx(10 + 2.3)
    assert made("contrastive_flow", 50, bound="absolute").bound_of(log_densities) == 0


def quick(bound: float, heard: list[Epoch] | None = None, **more: Any) -> Detector:
    detector = made("contrastive_flow", 2, bound="absolute", epsilon=bound, epochs=1, contrast_epochs=2, **SMALL)
    settings = {"batch_size": 100, "contrast": table(normal(300, [1.0, 1.0], 1.0, 12))} | FAST | more
    return detector.fit(table(normal(300, [0.0, 0.0], 1.0, 11)), on_epoch=(heard if heard is not None else []).append, **settings)


def test_a_bound_that_switches_the_method_off_is_pointed_out() -> None:
    with pytest.warns(UserWarning, match="nothing to learn"):
        quick(50.0)
    with pytest.warns(UserWarning, match="hardly any of the contrast"):
        quick(-1e6)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="ContrastiveFlow")
        quick(-4.0)


def test_the_history_says_how_much_is_clamped_and_how_many_steps_were_left_out() -> None:
    heard: list[Epoch] = []
    quick(-4.0, heard)
    last = [epoch for epoch in heard if epoch.phase == "contrast"]
    assert len(last) == 2
    assert all(0 < epoch.losses["clamped"] < 1 for epoch in last)
    assert all(epoch.losses["skipped"] == 0 for epoch in last)


def test_steps_that_are_no_numbers_are_left_out_and_the_rest_is_learned() -> None:
    others = normal(300, [1.0, 1.0], 1.0, 12)
    others[7] = torch.tensor([3e38, -3e38])
    heard: list[Epoch] = []
    detector = quick(-4.0, heard, contrast=table(others))
    last = [epoch for epoch in heard if epoch.phase == "contrast"]
    assert all(0 < epoch.losses["skipped"] < 1 for epoch in last)
    assert all(bool(parameter.isfinite().all()) for parameter in detector.parameters())


def test_what_is_too_far_off_for_numbers_is_as_anomalous_as_can_be() -> None:
    rows = normal(300, [0.0, 0.0], 1.0, 11)
    for name in ("flow", "flow_ratio"):
        contrast = {"contrast": table(rows + 1)} if name == "flow_ratio" else {}
        detector = made(name, 2, epochs=1, **SMALL).fit(table(rows), batch_size=100, **contrast, **FAST)
        found = detector.score(table(torch.tensor([[0.0, 0.0], [3e38, -3e38]]))).image
        assert torch.isfinite(found).all()
        assert found[1] == pytest.approx(1e30)


def test_places_outside_the_body_teach_nothing_and_are_as_normal_as_can_be() -> None:
    spec = ImageSpec(1, 64, 64, background=0.0)
    on = extractor(spec, {"name": "grey_statistics", "size": (64, 64), "layers": (8,)})
    torch.manual_seed(shifted(0))
    parameters = SMALL | {"level": "location", "places": 8}
    detector = detectors()["flow"].load()(spec, on, **parameters)
    images = phantoms(spec, 12, seed=1)
    inside = detector.places(images).view(12, 8, 8)
    assert not inside[:, 0, 0].any()
    assert inside[:, 4, 4].all()
    detector.fit(images, epochs=2, batch_size=6, **FAST)
    learning = detector.phases()[1]
    rows = torch.zeros(12, 64, detector.width)
    rows[~detector.places(images)] = torch.nan  # if one of these were looked at, the loss would tell
    assert all(bool(found.isfinite().all()) for found in learning.drawn(Batch(images, inputs=rows)))
    scores = detector.score(images)
    assert (scores.map[images == 0] == 0).all()
    assert (scores.map[images != 0] > 0).any()


def test_a_place_is_known_by_its_row_and_column() -> None:
    known = where(torch.arange(12), (3, 4))
    assert known.shape == (12, 14)
    assert known[0, :2].tolist() == [-1, -1]
    assert known[11, :2].tolist() == [1, 1]
    assert known[5, :2].tolist() == pytest.approx([0, -1 / 3])
    assert len(known.unique(dim=0)) == 12
    assert where(torch.zeros(1, dtype=torch.long), (1, 1)).isfinite().all()
