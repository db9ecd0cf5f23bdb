"""`recipe keys`, `check`, `list` and `show`."""

from __future__ import annotations

import typer

from medood.cli.options import Changes, Recipe

recipes = typer.Typer(help="Look at recipes and check them.", no_args_is_help=True)


@recipes.command("keys")
def recipe_keys() -> None:
    """Explain every key of a recipe, a transforms file and a benchmark."""
    from medood.tasks.reference.listing import print_keys

    print_keys()


@recipes.command("check")
def check_recipe(recipe: Recipe, changes: Changes = None) -> None:
    """Report every mistake of a recipe, benchmark or transforms file at once.

    Of a recipe of your own, or one with --set, also what its detector says of the size of the images and the phases' epochs; and the
    mistakes of its table, if that is where the recipe says.
    """
    from medood.tasks.training.check import check

    typer.echo(f"{check(recipe, changes or ())}: no mistakes found")


@recipes.command("list")
def list_recipes() -> None:
    """List the recipes and benchmarks that come with medood."""
    from medood.tasks.reference.listing import print_recipes

    print_recipes()


@recipes.command("show")
def show_recipe(recipe: Recipe, changes: Changes = None) -> None:
    """Print a recipe with every default filled in."""
    from medood.recipe.loading import load_recipe
    from medood.tasks.reference.listing import print_resolved

    print_resolved(load_recipe(recipe, changes or ()))
