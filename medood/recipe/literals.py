"""YAML files of literals: YAML 1.2 numbers and words, duplicate keys refused, the place of every key remembered."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from medood.core.errors import RecipeError

Places = dict[tuple[Hashable, ...], str]
"""Where every key path such as ("detector", "width") or ("steps", 0) stands: "recipe.yaml:3", or "--set"."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the words and numbers of YAML 1.2: `1e-3` is a float, `no` is text, `012` is twelve; `<<` merges nothing."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+0123456789.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node), 10))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: _real(loader.construct_scalar(node)))


def _real(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan") if text.lower().lstrip("+-") in (".inf", ".nan") else text)


def read_literals(path: Path) -> tuple[dict[str, Any], Places]:
    """The mapping in a YAML file and the place of every key. Raises RecipeError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([f"{path}: cannot be read as text ({type(error).__name__})."]) from error
    try:
        return parse_literals(text, str(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError([f"{where}: not valid YAML: {getattr(error, 'problem', None) or 'unreadable'}."]) from error


def parse_literals(text: str, name: str) -> tuple[dict[str, Any], Places]:
    _refuse_tricks(text, name)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise RecipeError([f"{name}: expected a mapping of keys to values, found {'nothing' if node is None else node.id}."])
        places: Places = {}
        problems: list[str] = []
        _walk(node, (), places, problems, name)
        if problems:
            raise RecipeError(problems)
        return loader.construct_document(node), places
    except ValueError as error:  # a number of thousands of digits
        raise RecipeError([f"{name}: holds a number that is too long."]) from error
    finally:
        loader.dispose()


def place_of(path: tuple[Hashable, ...], places: Places, where: str) -> str:
    """Where the deepest key on the way along `path` stands that the file has; `where` when it has none."""
    return next((places[path[:end]] for end in range(len(path), -1, -1) if path[:end] in places), where)


def parse_value(text: str) -> Any:
    """One value as YAML would read it, for `--set key=value`."""
    try:
        _refuse_tricks(text, "--set")
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: literals only
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise RecipeError([f"--set: {text!r} is not a valid value."]) from error


def _refuse_tricks(text: str, name: str) -> None:
    """Aliases, tags, merge keys and deep nesting have no use in a list of literals; they hide what is said, or take for ever."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        where = f"{name}:{event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise RecipeError([f"{where}: anchors and aliases (& and *) are not allowed; write the value out."])
        if getattr(event, "tag", None):
            raise RecipeError([f"{where}: tags such as {event.tag} are not allowed; write a plain value."])
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:  # not in quotes
            raise RecipeError([f"{where}: `<<` merges mappings, which would hide a key that is given twice: write the keys out."])
        if depth > 20:
            raise RecipeError([f"{where}: nested deeper than any recipe needs; check the brackets and the indentation."])


def _walk(node: yaml.Node, path: tuple[Hashable, ...], places: Places, problems: list[str], name: str) -> None:
    places[path] = f"{name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = f"{name}:{key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                problems.append(f"{place}: a key must be a word, found a list or a mapping.")
                continue
            here = (*path, key.value)
            if here in places:
                problems.append(f"{place}: {key.value}: this key is given twice; keep one.")
                continue
            _walk(value, here, places, problems, name)
            places[here] = place
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            _walk(value, (*path, i), places, problems, name)
