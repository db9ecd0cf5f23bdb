"""Random masks against the numbers that are known of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medood.core.errors import MedoodError
from medood.recipe.catalogue import steps
from medood.transforms.hidden_parts import HidesParts
from medood.transforms.mask_boxes import MaskBoxes
from medood.transforms.mask_cells import MaskCells


def draws(step: HidesParts, count: int, height: int, width: int | None = None, seed: int = 0) -> np.ndarray:
    """(count, height, width) of masks."""
    step.set_random_state(seed=seed)
    image = torch.zeros((1, height, width or height))
    return np.stack([step({"image": image})["hidden"][0].numpy() for _ in range(count)])


@pytest.mark.parametrize(("side", "mean", "low", "high"), [(224, 6.9, 3.2, 11.1), (256, 7.0, 3.3, 11.3), (32, 8.1, 3.5, 12.9)])
def test_boxes_cover_what_the_original_boxes_cover(side: int, mean: float, low: float, high: float) -> None:
    cover = 100 * draws(MaskBoxes(), 2000, side).mean((1, 2))
    assert cover.mean() == pytest.approx(mean, abs=0.25)
    assert np.percentile(cover, [5, 95]) == pytest.approx([low, high], abs=0.4)


@pytest.mark.parametrize(("side", "shortest", "longest", "margin"), [(224, 5, 34, 10), (256, 6, 39, 11), (32, 1, 5, 1)])
def test_a_box_has_the_scaled_sides_and_keeps_from_the_corner(side: int, shortest: int, longest: int, margin: int) -> None:
    masks = draws(MaskBoxes(count=(1, 1)), 3000, side)
    rows, columns = masks.any(2), masks.any(1)
    assert (masks == rows[:, :, None] & columns[:, None, :]).all(), "not a rectangle"
    for spans in (rows, columns):
        assert (spans.sum(1).min(), spans.sum(1).max()) == (shortest, longest)
        first = spans.argmax(1)
        assert first.min() == margin
        assert first.max() <= side - margin - 1
    assert 0 < rows[:, -1].mean() < 0.04, "a box that would leave the image turns back at its corner and does not slide to the border"
    height, width = rows.sum(1), columns.sum(1)
    assert abs(np.corrcoef(height, width)[0, 1]) < 0.06, "height and width are drawn independently"


def test_the_number_of_boxes_is_uniform_from_five_to_fourteen() -> None:
    step = MaskBoxes(side=(1, 1))  # pixels of 1: as good as never over one another
    numbers = np.bincount([mask.sum() for mask in draws(step, 2000, 224)], minlength=15)
    assert numbers[:5].sum() < 10
    assert numbers[5:].min() > 140
    assert numbers[5:15].max() < 260


def test_boxes_of_a_long_image_are_long() -> None:
    masks = draws(MaskBoxes(count=(1, 1)), 1000, 112, 448)
    assert masks.any(2).sum(1).max() == 17
    assert masks.any(1).sum(1).max() == 68


@pytest.mark.parametrize(("step", "most"), [(MaskBoxes(tile=32), None), (MaskCells(tile=32), 64)])
def test_every_tile_is_drawn_by_itself(step: HidesParts, most: int | None) -> None:
    tiles = draws(step, 200, 64, 96).reshape(200, 2, 32, 3, 32).transpose(0, 1, 3, 2, 4).reshape(-1, 6, 32 * 32)
    sums = tiles.sum(2)
    assert (sums == most).all() if most else sums.mean() / 1024 == pytest.approx(0.08, abs=0.005)
    assert (tiles[:, 0] != tiles[:, 1]).any(1).mean() > 0.9
    alone = draws(type(step)(), 1, 32)
    assert alone.mean() < 0.25


def test_cells_are_whole_and_four_of_sixty_four() -> None:
    masks = draws(MaskCells(), 500, 256)
    cells = masks.reshape(500, 8, 32, 8, 32)
    assert (cells.all((2, 4)) == cells.any((2, 4))).all()
    assert (cells.all((2, 4)).sum((1, 2)) == 4).all()
    assert cells.any((2, 4)).any(0).all(), "every cell is hidden at some time"
    long = draws(MaskCells(count=4, grid=8), 20, 64, 128)
    assert (long.reshape(20, 8, 8, 16, 8).all((2, 4)).sum((1, 2)) == 8).all()


@pytest.mark.parametrize("step", [MaskBoxes(), MaskCells()])
def test_the_seed_decides_and_the_image_stays(step: HidesParts) -> None:
    assert (draws(step, 5, 64, seed=1) == draws(step, 5, 64, seed=1)).all()
    assert (draws(step, 5, 64, seed=1) != draws(step, 5, 64, seed=2)).any()
    image = torch.rand((3, 64, 96))
    sample: dict[str, Any] = {"image": image.clone(), "id": "a"}
    result = step(sample)
    assert torch.equal(result["image"], image)
    assert (result["hidden"].shape, result["hidden"].dtype, result["id"]) == ((1, 64, 96), torch.bool, "a")
    assert "hidden" not in sample


@pytest.mark.parametrize(
    ("step", "shape"), [(MaskBoxes(tile=32), (48, 64)), (MaskCells(grid=7), (64, 64)), (MaskCells(grid=8), (64, 70)), (MaskCells(), (4, 4))]
)
def test_sizes_that_do_not_fit_are_refused(step: HidesParts, shape: tuple[int, int]) -> None:
    with pytest.raises(MedoodError, match="choose one that does"):
        step({"image": torch.zeros((1, *shape))})


@pytest.mark.parametrize("wrong", [{"count": (5, 4)}, {"side": (6, 5)}, {"side": (5, 103)}, {"count": (0, 4)}, {"margin": 0}])
def test_impossible_boxes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MedoodError, match="MaskBoxes"):
        MaskBoxes(**wrong)


@pytest.mark.parametrize("wrong", [{"grid": 0}, {"count": 0}, {"count": 65}, {"tile": 0}])
def test_impossible_cells_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MedoodError, match=f"MaskCells: .*{next(iter(wrong))}"):
        MaskCells(**wrong)


def test_recipes_can_name_them() -> None:
    assert steps()["mask_boxes"].parameters().model_dump() == {"count": (5, 14), "side": (5, 34), "margin": 10, "tile": None}
    assert steps()["mask_cells"].parameters().model_dump() == {"count": 4, "grid": 8, "tile": None}
    assert "hidden_parts" not in steps()
