"""The transforms and the pooling of a program say what medood's own say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medood.artefacts.operations import simpler
from medood.artefacts.placing import FromPixels, ToPixels
from medood.artefacts.pooling import OnePool
from medood.artefacts.samples import Grid, on_grid
from medood.artefacts.steps import as_tensors, without_form
from medood.core.geometry import Raster
from medood.core.volume import Entry, Volume
from medood.detectors.combination.surprise import joined, joined_in_tensors, surprise, surprise_in_tensors
from medood.recipe.recipe import Pooling, Preparation
from medood.scoring.inference import Scored
from medood.scoring.map_folder import native_map
from medood.scoring.pooling import Pool
from medood.transforms.pipeline import Pipeline, compose

STEPS = (
    {"percentile_scale": {"lower": 1.0, "upper": 97.3}},
    {"robust_scale": {"method": "quartiles"}},
    {"robust_scale": {"method": "shorth"}},
    {"scale_range": {"low": -50.0, "high": 300.0, "to_low": -1.0, "to_high": 1.0, "clip": True}},
    {"scale_range": {"low": 0.0, "high": 255.0, "to_low": 0.0, "to_high": 1.0, "clip": False}},
    {"voi_window": {}},
    {"to_grey": {}},
    {"to_rgb": {}},
)


def picture(rows: int, columns: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (channels, rows, columns)).astype(np.float32)


@pytest.mark.parametrize("step", STEPS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_step_in_tensors_is_the_step(step: dict[str, Any], channels: int) -> None:
    grey = np.repeat(picture(9, 7), 3, 0)  # a grey picture that was saved as colour
    for image in (picture(9, 7, channels), np.full((channels, 4, 5), 17, np.float32), grey):
        wanted = compose([step])({"image": image[:, None]})["image"][:, 0]
        (form,) = as_tensors([step])
        found = form(torch.from_numpy(image)[None])[0]
        assert found.dtype == torch.float32
        assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5), step


def test_steps_without_a_form_are_named() -> None:
    assert without_form([{"to_grey": {}}, {"equalise": {}}, {"foreground": {}}]) == ["equalise", "foreground"]


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop", "keep"])
@pytest.mark.parametrize("shape", [(40, 50), (25, 16), (33, 70), (32, 32), (7, 90)])
def test_placing_in_tensors_is_the_pipelines(fit: str, shape: tuple[int, int]) -> None:
    plan = Preparation(size=(32, 48), fit=fit, background=0.0, steps=[STEPS[4]])  # type: ignore[arg-type]
    compare_with_the_pipeline(plan, Grid(*shape, None, False), picture(*shape))


def test_a_field_of_view_in_mm_is_kept() -> None:
    plan = Preparation(size=(32, 32), field_of_view=(30.0, 20.0), range=(-1.0, 1.0), steps=[STEPS[3]])  # type: ignore[list-item]
    compare_with_the_pipeline(plan, Grid(50, 41, (0.5, 0.8), True), picture(50, 41))


def compare_with_the_pipeline(plan: Preparation, grid: Grid, pixels: np.ndarray) -> None:
    """Images, and maps back on the pixels with something else where nothing was examined or is to be shown."""
    volume = Volume(Entry("a", (), "a"), pixels[:, None], grid.geometry(), np.array([-1], np.int8))
    prepared = Pipeline(plan).prepare(volume)
    found = FromPixels(plan, prepared.way.placement)(torch.from_numpy(pixels)[None])
    assert np.allclose(found, prepared.images, atol=1e-5)
    heat = np.random.default_rng(1).random((1, *plan.size)).astype(np.float32) + 1
    shown = np.random.default_rng(2).random(heat.shape) > 0.3
    for where in (None, shown):
        scored = Scored(np.zeros(1), heat, None, {}, shown=where)
        wanted, _ = native_map(scored, prepared, -2.0)
        back = ToPixels(prepared.way.placement, -2.0)(
            torch.from_numpy(heat)[None], None if where is None else torch.from_numpy(where)[None]
        )
        assert np.allclose(back[0], wanted, atol=1e-5)


def test_a_sample_on_another_grid_keeps_its_middle() -> None:
    found = on_grid(picture(5, 9), Grid(7, 3, None, False))
    assert found.shape == (1, 7, 3)
    assert np.array_equal(found[:, 1:6], picture(5, 9)[:, :, 3:6])
    assert (found[:, [0, 6]] == picture(5, 9).min()).all()


PLANS = (
    {"reduction": "mean"},
    {"reduction": "percentile", "percentile": 93.0, "smooth_mm": 2.0},
    {"reduction": "percentile", "percentile": 100.0, "median_mm": 3.0, "erode_mm": 2.5},
    {"reduction": "top_mm2", "top_mm2": 20.0, "smooth_mm": (1.0, 4.0)},
    {"reduction": "top_mm2", "top_mm2": 1e6, "erode_mm": 4.0, "rim": "hidden"},
    {"reduction": "top_mm2", "top_mm2": 1.0, "side": "lower", "median_mm": 5.0, "smooth_mm": 0.7},
    {"reduction": "detector", "side": "higher", "smooth_mm": 3.0},
)


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("body", ["disc", "whole", "nothing", "pixel"])
def test_pooling_in_tensors_is_the_recipes(plan: dict[str, Any], body: str) -> None:
    random, raster = np.random.default_rng(0), Raster((0.8, 1.3))
    rows, columns = np.mgrid[:24, :30]
    disc = np.hypot(rows - 11, columns - 15) < 10
    inside = {"disc": disc, "whole": disc | True, "nothing": disc & False, "pixel": (rows == 5) & (columns == 9)}[body]
    image = np.where(inside, random.uniform(0.1, 1, inside.shape), 0).astype(np.float32)[None, None]
    heat, residual = random.random((2, 1, 24, 30)).astype(np.float32) - 0.3
    settings = Pooling(**plan)
    pool = Pool(settings, 0.0, 1.0)
    wanted = pool(Scored(np.array([7.0]), heat, None, {}, residual), image, np.zeros(1, int), raster)
    one = OnePool(settings, (24, 30), raster)
    where = torch.from_numpy(inside)[None, None]
    maps = one.maps(torch.from_numpy(heat)[None], where, torch.from_numpy(residual)[None] if pool.wants_residual else None)
    assert np.allclose(maps[0], wanted.map, atol=2e-6)
    if settings.rim == "hidden":
        assert np.array_equal(one.counted(where)[0], wanted.shown)
    if settings.reduction != "detector":
        assert one.score(maps, one.counted(where)).item() == pytest.approx(wanted.image[0], rel=1e-5, abs=1e-6)


def test_surprise_in_tensors_is_the_ensembles() -> None:
    random = np.random.default_rng(0)
    normal = np.round(random.normal(size=40), 1)  # with ties
    scores = np.concatenate([normal, random.normal(size=20), [-9.0, 9.0, 50.0]])
    assert np.allclose(surprise_in_tensors(torch.from_numpy(scores), normal), surprise(scores, normal), rtol=1e-12)
    both = np.stack([surprise(scores, normal), surprise(-scores, normal)], 1)
    for join in ("fisher", "harmonic_mean", "maximum"):
        assert np.allclose(joined_in_tensors(torch.from_numpy(both), join), joined(both, join), rtol=1e-12)  # type: ignore[arg-type]


def test_simpler_operations_compute_the_same() -> None:
    aten, forms, random = torch.ops.aten, simpler(), torch.Generator().manual_seed(0)
    one, other = (torch.randn(n, 6, generator=random, dtype=torch.float64) for n in (5, 8))
    assert torch.allclose(forms[aten._cdist_forward.default](one, other, 2.0, None), torch.cdist(one, other))
    for upper in (False, True):
        factor = (torch.randn(3, 5, 5, generator=random).triu() if upper else torch.randn(3, 5, 5, generator=random).tril()).double()
        factor += 3 * torch.eye(5)
        right = torch.randn(3, 5, 2, generator=random).double()
        found = forms[aten.linalg_solve_triangular.default](factor, right, upper=upper)
        assert torch.allclose(found, torch.linalg.solve_triangular(factor, right, upper=upper))
    for dim in (0, 1):
        middle, place = forms[aten.median.dim](one, dim)
        assert torch.equal(middle, one.median(dim).values)
        assert torch.equal(one.gather(dim, place.unsqueeze(dim)).squeeze(dim), middle)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 1, 3), (2, 1, 4), (2, 2, 5), (3, 0, 2)])
def test_the_gradient_of_a_convolution_is_a_convolution(transposed: bool, stride: int, padding: int, kernel: int) -> None:
    form = simpler()[torch.ops.aten.convolution_backward.default]
    image = torch.randn(1, 2, 13, 11, dtype=torch.float64).requires_grad_()
    weight = (
        torch.randn(2, 3, kernel, kernel, dtype=torch.float64) if transposed else torch.randn(3, 2, kernel, kernel, dtype=torch.float64)
    )
    made = torch.ops.aten.convolution(image, weight, None, [stride] * 2, [padding] * 2, [1, 1], transposed, [0, 0], 1)
    gradient = torch.randn_like(made)
    (wanted,) = torch.autograd.grad(made, image, gradient)
    found, _, _ = form(gradient, image, weight, None, [stride] * 2, [padding] * 2, [1, 1], transposed, [0, 0], 1, [True, False, False])
    assert torch.allclose(found, wanted)
