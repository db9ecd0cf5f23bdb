"""Pydantic's findings as sentences: the place, the key, what was found, what is allowed, the nearest known name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from medood.recipe.literals import Places, place_of

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class _Finding:
    """What is wrong with the value at `keys`; `kind` says that it is not even of the kind that pydantic tried."""

    keys: tuple[Any, ...]
    kind: bool
    place: str
    sentence: str


def check(
    model: type[Model],
    values: Mapping[str, Any],
    places: Places,
    where: str,
    problems: list[str],
    *,
    prefix: str = "",
    skip: str | None = None,
) -> Model | None:
    """`values` as a `model`, or None with every mistake appended to `problems`. Mistakes below the key `skip` were reported elsewhere.

    Values are taken as JSON and strictly: text is no number, `true` is no number, a list may be a tuple. A mistake is named by its place,
    or by `where` when it has none.
    """
    plain = {key: value.model_dump(mode="json") if isinstance(value, BaseModel) else value for key, value in values.items()}
    try:
        text = json.dumps(plain)
        return model.model_validate_json(text, strict=True)
    except TypeError as error:
        problems.append(f"{where}: holds a value that is not a plain number, text, list or mapping ({error}).")
        return None
    except ValidationError as error:
        items = [item for item in error.errors() if skip is None or item["loc"][:1] != (skip,)]
        as_checked = json.loads(text)  # where a key that was a number is text, as in pydantic's findings
        findings = [_finding(item, model, as_checked, places, where) for item in items]
        found: dict[str, list[str]] = {}
        for each in findings:
            if each.kind and any(len(other.keys) > len(each.keys) and other.keys[: len(each.keys)] == each.keys for other in findings):
                continue  # a mapping with a mistake inside is not also a number that it failed to be
            key = ".".join(map(str, ((prefix,) if prefix else ()) + each.keys))
            found.setdefault(f"{each.place}: {key}: ", []).append(each.sentence)
        problems.extend(place + _alternatives(sentences) for place, sentences in found.items())
        return None


def _finding(item: Any, model: type[BaseModel], values: Mapping[str, Any], places: Places, where: str) -> _Finding:
    loc, kind = tuple(item["loc"]), item["type"]
    return _Finding(_keys(loc, values, kind == "missing"), kind.endswith("_type"), place_of(loc, places, where), _sentence(item, model))


def _alternatives(sentences: list[str]) -> str:
    """One sentence for a value that fits none of several allowed kinds: `found 1.5, expected a whole number or a mapping.`"""
    if len(sentences) == 1:
        return sentences[0]
    head, expected, first = sentences[0].partition(", expected ")
    others = [s.partition(", expected ")[2].rstrip(".") for s in sentences[1:]]
    return head + expected + " or ".join([first.rstrip("."), *(o for o in others if o)]) + "."


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` without the question mark's sentence end, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _keys(loc: tuple[Any, ...], values: Any, missing: bool) -> tuple[Any, ...]:
    """The part of a location that are keys of the file; pydantic adds the names of union members, such as `tuple[int, ...]`."""
    keys: list[Any] = []
    for part in loc:
        if (isinstance(values, Mapping) and part in values) or (isinstance(values, list) and isinstance(part, int) and part < len(values)):
            values = values[part]
            keys.append(part)
        elif missing and isinstance(values, Mapping):
            keys.append(part)
    return tuple(keys)


def _sentence(item: Any, model: type[BaseModel]) -> str:
    """What was found and what is allowed."""
    kind, context, found = item["type"], item.get("ctx", {}), item["input"]
    if kind == "extra_forbidden":
        allowed = _fields_at(model, tuple(item["loc"])[:-1])
        return f"unknown key{nearest(str(item['loc'][-1]), allowed) or '.'} Allowed: {', '.join(allowed)}."
    if kind == "missing":
        return "this key is missing."
    if kind == "literal_error":
        near = _near_literal(found, context["expected"])
        return f"found {found!r}, expected {context['expected']}{near or '.'}"
    return f"found {found!r}, expected {_wanted(kind, context, item['msg'])}."


def _near_literal(found: Any, expected: str) -> str:
    return nearest(str(found), [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")])


def _wanted(kind: str, context: Mapping[str, Any], message: str) -> str:
    plain = {
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "tuple_type": "a list",
        "dict_type": "a mapping",
        "none_required": "nothing",
        "finite_number": "a finite number",
        "model_type": "a mapping",
        "model_attributes_type": "a mapping",
    }
    compare = {
        "greater_than": ("gt", "more than"),
        "greater_than_equal": ("ge", "at least"),
        "less_than_equal": ("le", "at most"),
        "less_than": ("lt", "less than"),
    }
    if kind in compare:
        key, words = compare[kind]
        return f"a number of {words} {context[key]}"
    if kind in ("too_long", "too_short"):
        return f"{context.get('max_length', context.get('min_length'))} values, not {context['actual_length']}"
    return plain.get(kind, message.removeprefix("Input should be ").lower())


def _fields_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Names allowed in the section at `path`."""
    here: Any = model
    for part in path:
        field = here.model_fields.get(part) if isinstance(here, type) and issubclass(here, BaseModel) else None
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        here = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []
