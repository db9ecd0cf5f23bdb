"""Everything that can be known of a recipe before images are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medood.core.errors import MedoodError, RecipeError
from medood.recipe.benchmarks.grid import check_file
from medood.recipe.loading import load_preparation, shipped
from medood.recipe.numbers import is_numbers
from medood.recipe.recipe import Preparation, Recipe


def check(name: str | Path, changes: Sequence[str] = ()) -> Path:
    """The path of a recipe, benchmark or transforms file without mistakes. Raises RecipeError with all of them.

    torch is slow to import and needed only to ask the detector itself, whose constructor knows best which sizes and parameters go together.
    So it is asked about recipes of the user's own alone: those that come with medood are known to fit, unless something is changed.
    """
    path, recipes = check_file(name, changes)
    several = len(recipes) > 1  # a benchmark, whose folders lie below one that only `--data` names
    problems = [problem for recipe in recipes for problem in _table(recipe, must_exist=not several)]
    if changes or path not in (*shipped("recipes"), *shipped("benchmarks")):
        problems += [problem for recipe in different(recipes) for problem in _detector(recipe)]
    if not recipes:  # a transforms file
        problems += _steps(load_preparation(path, changes))
    if problems:
        raise RecipeError([f"{path}: {problem}" for problem in dict.fromkeys(problems)])
    return path


def different(recipes: Sequence[Recipe]) -> list[Recipe]:
    """One of those that differ in nothing that a detector knows of."""
    return list({recipe.model_dump_json(exclude={"seed", "source", "summary"}): recipe for recipe in recipes}.values())


def _table(recipe: Recipe, *, must_exist: bool) -> list[str]:
    """Mistakes in the table that names the images, where the folder of the images is there."""
    root, table = recipe.source.get("root"), recipe.source.get("csv")
    if not table or not root or not Path(root).is_dir():
        return []
    if not (must_exist or (Path(root) / table).is_file()):
        return []
    from medood.data.opening import open_source
    from medood.sources.table import read_table, table_below

    try:
        if is_numbers(recipe.source):
            name, parameters = recipe.choice("source")
            open_source(name, **parameters).index()
        else:
            read_table(table_below(Path(root), table))
    except MedoodError as error:
        return [f"source.csv: {error}"]
    return []


def _steps(preparation: Preparation) -> list[str]:
    """Why a step of a transforms file cannot take its parameters."""
    from medood.transforms.pipeline import Pipeline

    try:
        Pipeline(preparation)
    except MedoodError as error:
        return [str(error)]
    return []


def _detector(recipe: Recipe) -> list[str]:
    """Why the detector cannot take the images or the parameters, or why the plan does not fit its phases."""
    import torch

    from medood.recipe.adoption import with_runs
    from medood.recipe.building import build_detector
    from medood.training.plan import check_plan
    from medood.transforms.pipeline import Pipeline, augmentation

    try:
        Pipeline(recipe.transforms)
        augmentation(recipe.augment)
        recipe = with_runs(recipe)
        try:
            with torch.device("meta" if recipe.features is None else "cpu"):  # no memory, no random numbers; weights are of a file
                detector = build_detector(recipe)
        except MedoodError as error:
            if not isinstance(error.__cause__, RuntimeError):
                raise
            detector = build_detector(recipe)  # a constructor that needs the values of its tensors
        check_plan(detector.phases(), recipe.training)
    except (MedoodError, ValueError) as error:
        return [str(error)]
    return []
