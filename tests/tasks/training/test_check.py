"""`medood recipe check`: what can be known before images are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detector_trials import extractor

from medood.core.detector import ImageSpec
from medood.core.errors import RecipeError
from medood.recipe.benchmarks.grid import load_grid
from medood.recipe.loading import load_recipe, shipped
from medood.tasks.training import check as check_task
from medood.tasks.training.check import check

RECIPE = """
source: {name: folder, root: IMAGES, csv: table.csv}
transforms: {name: grey_image, size: 64}
detector: {name: cvad, latent: 4, width: 4}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "table.csv").write_text("path,group,label,part\na.png,p,0,train\nb.png,q,0,val\n", encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE.replace("IMAGES", (tmp_path / "images").as_posix()), encoding="utf-8")
    return path


def said(path: Path | str, *changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        check(path, changes)
    return str(caught.value)


def test_a_recipe_that_fits_passes(recipe: Path) -> None:
    assert check(recipe) == recipe
    assert check(recipe, ("transforms.size=128", "training.epochs={generator: 2}")) == recipe


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("transforms.size=100",), "CVAD takes images whose height and width are multiples of 32, such as 96 x 96 or 128 x 128"),
        (("transforms.range=[-1, 1]",), "CVAD takes values from 0 to 1"),
        (("detector={name: f_anogan}", "transforms.size=96"), "FAnoGAN takes square images"),
        (("detector={name: patch_gan, patch: 24}",), "patches of 24 pixels do not tile 64 x 64"),
        (("detector={name: patch_gan, passes: 5}",), "`passes` must be a square number"),
        (("detector={name: patch_gan}", "transforms.size=[64, 40]"), "multiples of 32"),
        (("transforms.steps=[{percentile_scale: {lower: 99, upper: 1}}]",), "the lower one first; found lower 99, upper 1"),
        (("transforms.steps=[{scale_range: {low: 0, high: 0}}]",), "found low 0, high 0"),
        (("training.epochs={generatr: 3}",), "training.epochs names 'generatr'; the phases whose epochs can be set are: generator"),
        (("training.warmup_epochs=20",), "training.warmup_epochs is 20, but phase 'discriminator' has only 20 epochs"),
        (("training.milestones={scale: [0.5]}",), "training.milestones names 'scale'"),
    ],
)
def test_what_the_detector_cannot_take_is_known(recipe: Path, changes: tuple[str, ...], words: str) -> None:
    assert words in said(recipe, *changes)


def test_steps_of_a_transforms_file_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("summary: x\nsteps:\n  - percentile_scale: {lower: 99, upper: 1}\n", encoding="utf-8")
    assert said(path).startswith(f"{path}: PercentileScale: `lower` and `upper`")
    path.write_text("summary: x\nsteps:\n  - percentile_scale: {lower: 1, upper: 99}\n", encoding="utf-8")
    assert check(path) == path


def test_weights_of_features_are_checked_in_silence(recipe: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Torch has a warning for every tensor that it cannot copy into a network that is built without memory."""
    network = extractor(ImageSpec(1, 64, 64), {"name": "resnet18", "weights": "random"}).network
    weights = {name: value for name, value in network.named_buffers() if not name.endswith("num_batches_tracked")}
    torch.save(weights, tmp_path / "weights.pth")
    changes = "detector={name: knn}", f"features={{name: resnet18, weights: {(tmp_path / 'weights.pth').as_posix()}}}"
    assert check(recipe, changes) == recipe
    assert [str(warning.message) for warning in recwarn if "meta" in str(warning.message)] == []
    torch.save({name: value[..., :1] for name, value in weights.items()}, tmp_path / "weights.pth")
    assert "does not hold the weights of ResNet18" in said(recipe, *changes)


def test_what_is_changed_in_a_recipe_of_medood_is_checked_too() -> None:
    assert "multiples of 32" in said("brats_patchgan", "transforms.size=40")


def test_mistakes_of_the_table_and_of_the_size_come_together(recipe: Path) -> None:
    table = recipe.parent / "images" / "table.csv"
    table.write_text("path,group,label,part\na.png,p,2,train\n", encoding="utf-8")
    found = said(recipe, "transforms.size=100")
    assert "multiples of 32" in found
    assert "table.csv" in found
    assert "label" in found


def test_a_missing_table_is_named_where_its_folder_is_there_and_not_elsewhere(recipe: Path) -> None:
    (recipe.parent / "images" / "table.csv").unlink()
    assert "table.csv" in said(recipe)
    (recipe.parent / "images").rmdir()
    assert check(recipe) == recipe, "the images may lie on another machine"


def test_every_run_of_a_benchmark_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "seeds: [0, 1]\n"
        "cohorts: {A: {source: {name: phantom}, transforms: {name: brats_flair, size: 64}}}\n"
        "detectors: {Good: {detector: {name: vae}}, Bad: {detector: {name: patch_gan, patch: 24}}}\n",
        encoding="utf-8",
    )
    assert said(path).count("do not tile") == 1, "once, not for every seed"


@pytest.mark.parametrize("path", [*shipped("recipes"), *shipped("benchmarks")], ids=lambda path: path.stem)
def test_detectors_of_what_ships_take_their_images(path: Path) -> None:
    """So that `recipe check` need not ask them."""
    recipes = [load_recipe(path)] if path.parent.name == "recipes" else [job.recipe for job in load_grid(path).jobs]
    for recipe in check_task.different(recipes):
        assert check_task._detector(recipe) == []


@pytest.mark.parametrize("name", ["small_sets", "frozen_features", "cvad_table2"])
def test_a_benchmark_is_checked_wherever_its_images_lie(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(name).stem == name
