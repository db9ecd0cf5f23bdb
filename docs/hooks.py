"""Writes the reference pages of the site from the code, each time the site is built."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api_page import api_page
from docstrings import split, table
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medood.core.issue_codes import WORDS
from medood.node.config import sections as node_sections
from medood.recipe import catalogue
from medood.recipe.literals import read_literals
from medood.recipe.loading import shipped
from medood.tasks.reference.listing import allowed, sections

warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")  # what torch thinks of itself is no fault of a page

_FETCHED = re.compile(
    r"""(?:<(?:script|img|iframe|source)\b[^>]*\bsrc=|<link\b[^>]*\bhref=|\bimport\(|url\()["']?(?:https?:)?//[^"'\s>)]*"""
)


_OF_RECIPES = "What a recipe, a transforms file and a benchmark may say; `medood recipe keys` prints the same."


def on_files(files: Files, config: MkDocsConfig) -> Files:
    pages = {
        "detectors": _cards("Detectors", "A recipe names one under `detector`.", catalogue.detectors()),
        "features": _cards(
            "Features", "Detectors that work on features take them from a recipe's section `features`.", catalogue.features()
        ),
        "sources": _cards("Sources", "A recipe names one under `source`; commands take it with `--source`.", catalogue.sources()),
        "steps": _cards("Transform steps", "Transforms files list them under `steps`, recipes under `augment`.", catalogue.steps()),
        "recipe-keys": _keys("Keys of a recipe", _OF_RECIPES, sections()),
        "node-keys": _keys("Keys of a node", "What the configuration of `medood node` may say.", node_sections()),
        "recipes": _recipes(),
        "issue-codes": _issue_codes(),
        "commands": _commands(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    files.append(File.generated(config, "api.md", content=api_page()))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Takes out what notebooks' pages bring for diagrams that none of ours has, and refuses a page that would fetch from elsewhere."""
    output = re.sub(r'<script type="module">(?:(?!</script>).)*mermaid.*?</script>', "", output, flags=re.S)
    found = _FETCHED.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri} would fetch {found[0]} when it is read; nothing may come from elsewhere.")
    return output


def _cards(title: str, intro: str, cards: dict[str, catalogue.Card]) -> str:
    return "\n\n".join([f"# {title}", intro, *(_card(card) for card in cards.values())])


def _card(card: catalogue.Card) -> str:
    text, explained = split(card.description)
    rows = [(f"`{key}`", allowed(field.annotation), _default(field), explained.get(key, "")) for key, field in _fields(card.parameters)]
    explanation = table(("parameter", "allowed", "default", "meaning"), rows) if rows else ""
    return "\n\n".join(part for part in (f"## {card.name}", text, explanation) if part)


def _keys(title: str, intro: str, wanted: dict[str, type[BaseModel]]) -> str:
    parts = [f"# {title}", intro]
    for name, section in wanted.items():
        text, explained = split(inspect.getdoc(section) or "")
        rows = [(f"`{key}`", allowed(field.annotation), _default(field), explained.get(key, "")) for key, field in _fields(section)]
        parts += [f"## {name}", text, table(("key", "allowed", "default", "meaning"), rows)]
    return "\n\n".join(parts)


def _fields(section: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return list(section.model_fields.items())


def _default(field: FieldInfo) -> str:
    """As a recipe would say it."""
    return "required" if field.is_required() else "" if field.default_factory else f"`{json.dumps(field.default)}`"


def _recipes() -> str:
    parts = ["# Recipes and benchmarks that come with medood", "`medood recipe show NAME` prints one with every default filled in."]
    for folder, what in (("recipes", "Recipes"), ("benchmarks", "Benchmarks")):
        rows = [(f"`{path.stem}`", str(read_literals(path)[0].get("summary", ""))) for path in shipped(folder)]
        parts += [f"## {what}", table(("name", "what it is"), rows)]
    return "\n\n".join(parts)


def _issue_codes() -> str:
    intro = (
        "What is odd about a series or an image that was read all the same stands as a code in the column `issues` of scores.csv, in "
        "`medood inspect`, and in `issues` of an entry or result in Python. A number after a colon says how many, or how much. "
        "Files that could not be used have a row of the status `error`, whose reason is a sentence."
    )
    rows = [(f"`{code}`", meaning) for code, meaning in WORDS.items()]
    return "\n\n".join(["# Issue codes", intro, table(("code", "what it means"), rows)])


def _commands() -> str:
    import typer

    from medood.cli import app

    group = typer.main.get_command(app)
    return "\n\n".join(["# Commands", "`medood COMMAND --help` prints the same.", *_command_parts("medood", group)])


def _command_parts(name: str, command: Any) -> Iterator[str]:
    for sub in getattr(command, "commands", {}).values():
        if hasattr(sub, "commands"):
            yield from _command_parts(f"{name} {sub.name}", sub)
            continue
        yield f"## {name} {sub.name}"
        yield _coded(inspect.cleandoc(sub.help or ""))
        rows = [_parameter_row(parameter) for parameter in sub.params if parameter.name != "help"]
        yield table(("argument", "meaning", "default"), rows) if rows else ""


def _parameter_row(parameter: Any) -> tuple[str, str, str]:
    shown = ", ".join(parameter.opts) if parameter.param_type_name == "option" else (parameter.metavar or parameter.name).upper()
    default = parameter.default
    plain = isinstance(default, (str, int, float, Path)) and not isinstance(default, bool) and default != ""
    said = parameter.show_default if isinstance(parameter.show_default, str) else f"`{default}`" if plain else ""
    return f"`{shown}`", _coded(getattr(parameter, "help", "") or ""), said


def _coded(text: str) -> str:
    """Text with its options as code, for hyphens would break elsewhere."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"(--[a-z][a-z-]*(?: [a-z.]+=\w+)?)", r"`\1`", part) for part in parts)
