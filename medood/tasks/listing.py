"""What medood has to offer, printed: detectors, sources, transform steps, recipes. Text only; torch stays out."""

from __future__ import annotations

from typing import Any, Literal

import yaml
from rich.console import Console
from rich.table import Table

from medood.core import catalogue
from medood.core.check import nearest
from medood.core.errors import MedoodError
from medood.core.literals import read_literals
from medood.core.recipe import Recipe, shipped


def print_cards(kind: Literal["detectors", "sources", "steps"], name: str | None) -> None:
    cards = getattr(catalogue, kind)()
    if name is None:
        table = Table("name", "what it does", box=None)
        for card in cards.values():
            table.add_row(card.name, card.summary)
        Console().print(table)
        return
    if name not in cards:
        raise MedoodError(f"There is no {kind[:-1]} called {name!r}{nearest(name, cards)}. Known: {', '.join(cards)}.")
    _print_card(cards[name])


def _print_card(card: catalogue.Card) -> None:
    console = Console(highlight=False)
    console.print(f"{card.name}\n\n{card.description}\n", markup=False)
    table = Table("parameter", "allowed", "default", box=None)
    for key, field in card.parameters.model_fields.items():
        allowed = getattr(field.annotation, "__name__", None) or str(field.annotation).replace("typing.", "")
        table.add_row(key, allowed, "required" if field.is_required() else repr(field.default))
    console.print(table)


def print_recipes() -> None:
    table = Table("recipe", "what it trains", box=None)
    for path in shipped("recipes"):
        values, _ = read_literals(path)
        table.add_row(path.stem, str(values.get("summary", "")))
    Console().print(table)


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
