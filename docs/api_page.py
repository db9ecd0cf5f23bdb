"""The page about what `import medood` offers, from its docstrings and annotations."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from typing import Any

from docstrings import definitions, linked, split
from pydantic import BaseModel

import medood

SECTIONS = (
    (
        "Train and score",
        "A run is a trained and calibrated detector in a folder: `medood.train` makes one, `medood.load` opens it, and its methods score.",
        ("train", "load", "Run", "Result", "SliceResult", "FolderResult", "MapScale", "Calibration", "Recipe", "load_recipe"),
    ),
    (
        "Read images",
        "The readers alone, without a detector: DICOM, NIfTI and pictures as volumes in physical values, with what is odd about them.",
        ("read", "Volumes", "Volume", "Entry", "Origin", "Problem", "Geometry", "open_source", "Source", "Index", "write_phantoms"),
    ),
    (
        "Detectors",
        "A detector is a `torch.nn.Module` that is trained on normal images, in memory or in a loop of your own, and scores others. "
        "These are also the parts that a [new one](own-detector.md) is made of.",
        (
            *("detector", "save_detector", "load_detector", "augmentation"),
            *("ImageSpec", "Detector", "Scores", "Phase", "Batch", "Update", "Epoch"),
        ),
    ),
    (
        "Errors",
        "Whatever is wrong with what you gave is a `MedoodError`, whose text is a sentence that says what to do; what you have to know of "
        "a result before you rely on it is a `MedoodWarning`.",
        ("MedoodError", "InputError", "RecipeError", "RunError", "CalibrationError", "TrainingError", "NotFitted", "MedoodWarning"),
    ),
)
_RESULTS = ("Run", "Result", "SliceResult", "FolderResult", "Volumes", "Index", "Epoch", "Source", "Phase")
_SKIPPED = ("to_dict", "from_dict", "with_maps", "made_as")


def api_page() -> str:
    """Raises ValueError unless the sections above name everything that is offered."""
    shown = {name for _, _, names in SECTIONS for name in names}
    if shown != set(medood._HOME_OF):
        raise ValueError(f"docs/api_page.py leaves out or no longer finds {sorted(shown ^ set(medood._HOME_OF))}")
    head = split(inspect.getdoc(medood) or "")[0]
    parts = ["# Python", head]
    for title, intro, names in SECTIONS:
        parts += [f"## {title}", intro]
        for name in names:
            parts += _parts(name, getattr(medood, name), 3)
    return linked("\n\n".join(part for part in parts if part), _place)


def _place(name: str) -> str | None:
    """Where on the page a name is explained."""
    first, _, rest = name.removeprefix("medood.").partition(".")
    owner = {"run": "Run"}.get(first, first)
    if owner not in medood._HOME_OF:
        return None
    return f"#{owner}.{rest}" if rest and hasattr(getattr(medood, owner), rest) else f"#{owner}"


def _parts(name: str, value: Any, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name} {{#{name}}}"
    if not inspect.isroutine(value) and not inspect.isclass(value):  # a type of its own, explained where it is defined
        yield _said_beside(name)
        return
    plain = inspect.isclass(value) and issubclass(value, (BaseModel, Exception))
    if not plain and not _is_result(value):
        yield f"```python\n{_signature(name.rpartition('.')[2], value)}\n```"
    text, explained = split(inspect.getdoc(value) or "")
    yield text
    if inspect.isclass(value):
        explained = {} if plain else explained | {name: "" for name in _fields(value) if name not in explained}
        if issubclass(value, BaseModel):
            yield "Its sections and values are [the keys of a recipe](reference/recipe-keys.md)."
    types = _types(value)
    terms = {key: f"`{key}`" + (f" <small>`{types[key]}`</small>" if key in types else "") for key in explained}
    together = groupby(explained, key=lambda key: (explained[key], "" if explained[key] else key))  # one explanation of several names
    yield definitions((", ".join(terms[key] for key in keys), meaning) for (meaning, _), keys in together)
    if inspect.isclass(value) and not plain:
        yield from _members(name, value, level + 1)


def _said_beside(name: str) -> str:
    """The text that stands below an assignment."""
    source = inspect.getsource(import_module(f"medood.{medood._HOME_OF[name]}"))
    found = re.search(rf'^{name} = .*\n"""(.*?)"""', source, flags=re.M | re.S)
    return found[1] if found else ""


def _is_result(value: Any) -> bool:
    """Whether it is made by medood alone, so that nobody needs to know how."""
    return inspect.isclass(value) and value.__name__ in _RESULTS


def _fields(cls: type) -> list[str]:
    """Public fields of a data class."""
    return [field.name for field in dataclasses.fields(cls) if not field.name.startswith("_")] if dataclasses.is_dataclass(cls) else []


def _types(value: Any) -> dict[str, str]:
    """Annotations of the fields of a data class; those of parameters stand in the signature."""
    if not inspect.isclass(value):
        return {}
    return {key: str(kind) for cls in reversed(value.__mro__) for key, kind in inspect.get_annotations(cls).items()}


def _members(name: str, cls: type, level: int) -> Iterator[str]:
    """Public methods and properties, medood's own ones."""
    for key, member in _own(cls):
        if isinstance(member, property):
            yield f"{'#' * level} {name}.{key} {{#{name}.{key}}}"
            yield split(inspect.getdoc(member) or f"Of the type `{member.fget.__annotations__.get('return', '')}`.")[0]
        else:
            yield from _parts(f"{name}.{key}", getattr(cls, key), level)


def _own(cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__mro__:
        if base.__module__.startswith("medood."):
            for key, member in vars(base).items():
                if not key.startswith("_") and key not in _SKIPPED and (inspect.isroutine(member) or isinstance(member, property)):
                    yield key, member


def _signature(name: str, value: Any) -> str:
    """Over several lines when it is long."""
    signature = inspect.signature(value)
    shown: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not any(text.startswith("*") for text in shown):
            shown.append("*")
        if parameter.name not in ("self", "cls"):
            shown.append(_shown(parameter))
    returned = "" if signature.return_annotation is signature.empty else f" -> {_kind(signature.return_annotation)}"
    line = f"{name}({', '.join(shown)}){returned}"
    return line if len(line) < 85 else "\n".join([f"{name}(", *(f"    {text}," for text in shown), f"){returned}"])


def _shown(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = "" if parameter.annotation is parameter.empty else f": {_kind(parameter.annotation)}"
    return f"{stars}{parameter.name}{kind}" + ("" if parameter.default is parameter.empty else f" = {parameter.default!r}")


def _kind(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
