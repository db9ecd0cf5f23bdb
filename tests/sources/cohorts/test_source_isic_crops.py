"""Crops of photographs: where they lie, what they are called, and which photographs give none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from medood.core.errors import InputError, MedoodError
from medood.sources.cohorts.isic_crops import IsicCrops

TRAIN, TEST = "ISBI2016_ISIC_Part1_Training", "ISBI2016_ISIC_Part1_Test"
ROWS, COLUMNS, BORDER = 116, 180, 10  # a grid of 3 x 5 cells; 4 rows at the end belong to none


def _photograph(root: Path, part: str, name: str, lesion: np.ndarray | None = None) -> None:
    """Every pixel shows the row and the column of its cell, as far as JPEG keeps it; the border is white."""
    for kind in ("Data", "GroundTruth"):
        (root / f"{part}_{kind}").mkdir(exist_ok=True)
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    pixels = np.stack([(rows - BORDER) // 32 * 60 + 20, (columns - BORDER) // 32 * 40 + 20, np.full_like(rows, 100)], axis=-1)
    pixels[:BORDER] = pixels[:, :BORDER] = 255
    Picture.fromarray(pixels.astype(np.uint8)).save(root / f"{part}_Data" / f"{name}.jpg", quality=100, subsampling=0)
    if lesion is not None:
        Picture.fromarray(lesion.astype(np.uint8) * 255).save(root / f"{part}_GroundTruth" / f"{name}_Segmentation.png")


def _lesion(pixels_by_cell: dict[tuple[int, int], int]) -> np.ndarray:
    """So many lesion pixels in each cell."""
    lesion = np.zeros((ROWS, COLUMNS), bool)
    for (row, column), count in pixels_by_cell.items():
        cell = np.zeros(32 * 32, bool)
        cell[:count] = True
        top, left = BORDER + 32 * row, BORDER + 32 * column
        lesion[top : top + 32, left : left + 32] = cell.reshape(32, 32)
    return lesion


def test_crops_lie_on_the_grid_and_are_labelled_by_their_share_of_lesion(tmp_path: Path) -> None:
    shares = {(0, 1): 122, (0, 2): 123, (1, 1): 767, (1, 2): 768, (2, 4): 1024}  # 12 % are 122.88 pixels, 75 % are 768
    _photograph(tmp_path, TRAIN, "ISIC_1", _lesion(shares))
    source = IsicCrops(tmp_path, crops=15, border=BORDER)
    (entry,) = source.index().entries
    assert (entry.group, entry.label, entry.part, entry.slices) == ("ISIC_1", None, None, 15)
    volume = source.read(entry)
    assert volume.image.shape == (3, 15, 32, 32)
    assert volume.labels.tolist() == [0, 0, -1, 0, 0, 0, -1, 1, 0, 0, 0, 0, 0, 0, 1]
    assert volume.mask.sum((1, 2)).tolist() == [0, 122, 123, 0, 0, 0, 767, 768, 0, 0, 0, 0, 0, 0, 1024]
    for number in range(15):
        np.testing.assert_allclose(volume.image[0, number], number // 5 * 60 + 20, atol=4)
        np.testing.assert_allclose(volume.image[1, number], number % 5 * 40 + 20, atol=4)


def test_fewer_crops_are_drawn_by_the_seed_and_stay_the_same(tmp_path: Path) -> None:
    for name in ("ISIC_1", "ISIC_2"):
        _photograph(tmp_path, TRAIN, name, _lesion({(1, 1): 1024}))

    def drawn(**parameters: int) -> list[list[tuple[int, int]]]:
        source = IsicCrops(tmp_path, crops=6, border=BORDER, **parameters)
        volumes = [source.read(entry) for entry in source.index().entries]
        middles = [volume.image[:2, :, 16, 16].T for volume in volumes]
        return [[(round((r - 20) / 60), round((g - 20) / 40)) for r, g in middle] for middle in middles]

    first, second = drawn()
    assert len(set(first)) == 6
    assert first == sorted(first)
    assert first != second, "not the same places in every photograph"
    assert drawn() == [first, second]
    assert drawn(seed=1) != [first, second]


def test_the_publishers_test_part_is_for_testing(tmp_path: Path) -> None:
    _photograph(tmp_path, TRAIN, "ISIC_1", _lesion({}))
    _photograph(tmp_path, TEST, "ISIC_2", _lesion({}))
    assert [(e.group, e.part) for e in IsicCrops(tmp_path).index().entries] == [("ISIC_2", "test"), ("ISIC_1", None)]


def test_what_gives_no_crops_is_said(tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match=f"{TRAIN}_Data, {TRAIN}_GroundTruth missing: ISIC 2016, part 1, needs"):
        IsicCrops(tmp_path).index()
    _photograph(tmp_path, TRAIN, "ISIC_1")
    _photograph(tmp_path, TRAIN, "ISIC_2", _lesion({}))
    _photograph(tmp_path, TRAIN, "ISIC_3", np.zeros((ROWS, COLUMNS + 1), bool))
    half = {(row, column): 512 for row in range(3) for column in range(5)}
    _photograph(tmp_path, TRAIN, "ISIC_4", _lesion(half))
    source = IsicCrops(tmp_path, crops=15, border=BORDER)
    index = source.index()
    (problem,) = index.problems
    assert (problem.path, problem.code) == (f"{TRAIN}_Data/ISIC_1.jpg", "no_mask")
    assert "no ISIC_1_Segmentation.png" in problem.message
    entries = {e.group: e for e in index.entries}
    for name, reader, says in (
        ("ISIC_2", IsicCrops(tmp_path, crops=16, border=BORDER), "116 x 180 pixels hold 15 of 16 crops"),
        ("ISIC_2", IsicCrops(tmp_path), "116 x 180 pixels hold 0 of 64 crops"),
        ("ISIC_3", source, "differ in size"),
        ("ISIC_4", source, "none of its crops is all skin or all lesion"),  # else they would count as unlabelled, and be trained on
    ):
        with pytest.raises(InputError, match=says):
            reader.read(entries[name])
    with pytest.raises(MedoodError, match=r"found 0\.8 and 0\.75"):
        IsicCrops(tmp_path, skin=0.8)
