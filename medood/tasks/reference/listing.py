"""What medood has to offer, printed: detectors, features, sources, transform steps, recipes. Text only; torch stays out."""

from __future__ import annotations

import inspect
import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medood.core.errors import MedoodError
from medood.recipe import catalogue
from medood.recipe.benchmarks.file import Benchmark, OutlierSet, Published
from medood.recipe.check import nearest
from medood.recipe.literals import read_literals
from medood.recipe.loading import shipped
from medood.recipe.recipe import CalibrationPlan, OcclusionPlan, Pooling, Preparation, Pretraining, Recipe, Scoring, Split, Training
from medood.tasks.reference.prose import wrapped


def print_cards(kind: Literal["detectors", "features", "sources", "steps"], name: str | None) -> None:
    cards = getattr(catalogue, kind)()
    if name is None:
        table = Table("name", "what it does", box=None)
        for card in cards.values():
            table.add_row(card.name, card.summary)
        Console().print(table)
        return
    if name not in cards:
        raise MedoodError(f"There is no {kind[:-1]} called {name!r}{nearest(name, cards) or '.'} Known: {', '.join(cards)}.")
    _print_card(cards[name])


def _print_card(card: catalogue.Card) -> None:
    console = Console(highlight=False)
    text = "\n\n".join(filter(None, (card.name, card.description, _needs(card))))
    console.print(wrapped(text, console.width) + "\n", markup=False, soft_wrap=True)
    table = Table("parameter", "allowed", "default", box=None)
    for key, field in card.parameters.model_fields.items():
        table.add_row(key, escape(allowed(field.annotation)), escape(_default(field)))
    console.print(table)


def _needs(card: catalogue.Card) -> str:
    """Of a detector: which sections of a recipe it needs or can use, besides its own."""
    features = {"none": "", "optional": "It can use the recipe's `features`.", "required": "It works on the recipe's `features`."}
    contrast = "It needs a `contrast`." if card.learns_from_contrast else ""
    rounds = "It can score in bfloat16 (`scoring.precision`)." if card.can_round else ""
    return "\n".join(filter(None, (features[card.features], contrast, rounds)))


def _default(field: FieldInfo) -> str:
    """As a recipe would say it."""
    return "required" if field.is_required() else "" if field.default_factory else json.dumps(field.default)


def allowed(annotation: Any) -> str:
    """What a parameter may be, in words."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Literal:
        return ", ".join(map(str, parts))
    if kind is Annotated:
        return allowed(parts[0])
    if kind in (Union, UnionType):
        return " or ".join(allowed(part) for part in parts)
    if kind in (list, tuple):
        return f"[{', '.join('...' if part is ... else allowed(part) for part in parts)}]"
    names = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null", tuple: "list"}
    return names.get(kind or annotation, "mapping")


def sections() -> dict[str, type[BaseModel]]:
    """What a recipe, a transforms file and a benchmark are made of, by title."""
    return {
        "Recipe": Recipe,
        "Transforms file": Preparation,
        "Section split": Split,
        "Section training": Training,
        "Section calibration": CalibrationPlan,
        "Section pooling": Pooling,
        "Section occlusion": OcclusionPlan,
        "Section scoring": Scoring,
        "Section pretraining": Pretraining,
        "Benchmark": Benchmark,
        "Outlier set of a benchmark": OutlierSet,
        "Published figures of a benchmark": Published,
    }


def print_keys() -> None:
    """Every key of a recipe, a transforms file and a benchmark, with its default, from the docstrings of their sections."""
    console = Console(highlight=False)
    for title, section in sections().items():
        console.print(wrapped(f"{title}: {inspect.getdoc(section)}", console.width) + "\n", markup=False, soft_wrap=True)
        table = Table("key", "allowed", "default", box=None)
        for key, field in section.model_fields.items():
            table.add_row(key, escape(allowed(field.annotation)), escape(_default(field)))
        console.print(table, "")


def print_recipes() -> None:
    """The recipes and the benchmarks that come with medood."""
    for folder, name, what in (("recipes", "recipe", "what it trains"), ("benchmarks", "benchmark", "what it compares")):
        table = Table(name, what, box=None)
        for path in shipped(folder):
            values, _ = read_literals(path)
            table.add_row(path.stem, str(values.get("summary", "")))
        Console().print(table, "")


def print_resolved(recipe: Recipe) -> None:
    print(yaml.dump(_plain(recipe.model_dump(mode="json")), Dumper=_Indented, sort_keys=False, default_flow_style=None, width=120), end="")


class _Indented(yaml.SafeDumper):
    """Lists in blocks are indented under their key, as in the recipes that come with medood."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _plain(value: Any) -> Any:
    """Floats such as 1e-05 are written 1.0e-05, so that every YAML reader takes them for numbers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
