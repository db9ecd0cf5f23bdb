"""Benchmarks in which each class is the normal one once."""

from __future__ import annotations

from pathlib import Path

import pytest

from medood.core.errors import RecipeError
from medood.recipe.benchmarks.grid import Grid, load_grid

GRID = """\
tables: [classes]
common: {training: {batch_size: 4}}
cohorts:
  Clothes:
    source: {name: idx, root: clothes}
    each_normal: [0, 4, 6]
    transforms: idx_image
    training: {patience: 3}
  Pets:
    source: {name: folder, root: pets}
    each_normal: {cat: {csv: cats.csv}, dog: {csv: dogs.csv}}
    transforms: rgb_image
detectors:
  SVM: {detector: {name: one_class_svm}}
published:
  title: Somebody, table 1
  beside: {"Clothes, 4": {SVM: [0.9]}}
"""


def load(folder: Path, text: str = GRID) -> Grid:
    path = folder / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return load_grid(path, Path("/data"))


def test_a_cohort_stands_for_one_of_each_class(tmp_path: Path) -> None:
    grid = load(tmp_path)
    assert grid.turns == {"Clothes": ("Clothes, 0", "Clothes, 4", "Clothes, 6"), "Pets": ("Pets, cat", "Pets, dog")}
    assert grid.cohorts == ("Clothes, 0", "Clothes, 4", "Clothes, 6", "Pets, cat", "Pets, dog")
    assert [job.place for job in grid.jobs[:2]] == ["clothes-0/svm/seed-0", "clothes-4/svm/seed-0"]
    sources = [job.recipe.source for job in grid.jobs]
    assert [source.get("normal") for source in sources[:3]] == [0, 4, 6]
    assert [source.get("csv") for source in sources[3:]] == ["cats.csv", "dogs.csv"]
    assert {source["root"] for source in sources[3:]} == {str(Path("/data/pets"))}
    assert [job.recipe.training.patience for job in grid.jobs[:3]] == [3, 3, 3]


def test_a_cohort_may_say_which_transforms_a_detector_tells_apart(tmp_path: Path) -> None:
    text = GRID.replace("one_class_svm", "geo_trans, transforms: turns").replace("training: {patience: 3}", "detector: {transforms: all}")
    jobs = load(tmp_path, text).jobs
    assert [job.recipe.detector["transforms"] for job in jobs] == ["all"] * 3 + ["turns"] * 2


@pytest.mark.parametrize("wrong", ["[3]", "3", "[1, 1]", "{cat: {csv: cats.csv}, dog: {}}", "{cat: {csv: a.csv}}"])
def test_what_are_no_classes_is_said_with_its_line(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(tmp_path, GRID.replace("[0, 4, 6]", wrong))
    (problem, *_) = error.value.problems
    assert "grid.yaml:6: cohorts.Clothes.each_normal: expected two classes or more" in problem


def test_a_mistake_in_a_shared_key_has_the_line_of_the_cohort(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        load(tmp_path, GRID.replace("patience: 3", "patience: three"))
    assert any("grid.yaml:8" in problem for problem in error.value.problems)


@pytest.mark.parametrize("name", ["geotrans_table1", "geotrans_small"])
def test_published_figures_are_of_classes_that_are_there(name: str) -> None:
    grid = load_grid(name)
    assert grid.published is not None
    assert set(grid.published.beside) <= set(grid.cohorts)
    assert {job.recipe.source["normal"] for job in grid.jobs if job.cohort.startswith("Fashion-MNIST")} >= {0, 4, 6}
