"""What there is to name in a recipe: detectors, features, sources and transform steps, read from the text of their files.

Nothing is imported to list or check them, so `medood --help` and `medood recipe check` need neither torch nor MONAI.
"""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model

from medood.core import types

_PACKAGE = Path(__file__).parent.parent
_TYPES: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "None": None} | {
    name: value for name, value in vars(types).items() if name[0].isupper() and name not in ("Annotated", "Field", "Literal")
}


@dataclass(frozen=True)
class Card:
    """One thing that a recipe can name.

    kind is "detector", "features", "source", "step" or "map"; summary is the first line of its docstring; parameters are the keyword-only
    arguments of its constructor as a pydantic model that refuses anything else. A detector that works on features takes them as its
    second argument, `__init__(self, spec, features, *, ...)`; with the default None it can do without. One that is made of other
    detectors takes those as its second argument, `__init__(self, spec, members, *, ...)`; a recipe lists them as its `members`. One that
    needs a contrast has `learns_from_contrast = True` in its class, one that can score in bfloat16 `can_round = True`.
    """

    name: str
    kind: str
    module: str
    class_name: str
    summary: str
    description: str
    parameters: type[BaseModel]
    features: Literal["none", "optional", "required"] = "none"
    takes_members: bool = False
    learns_from_contrast: bool = False
    can_round: bool = False

    def load(self) -> type:
        """Import the class itself; slow where it needs torch or MONAI."""
        return getattr(importlib.import_module(self.module), self.class_name)


@cache
def detectors() -> dict[str, Card]:
    return _cards("detector", sorted((_PACKAGE / "detectors").glob("*/*.py")))


def occlusion() -> Card:
    """What gives a map to a detector that has none. It is made of that detector, and no recipe names it as one."""
    (card,) = _cards("map", [_PACKAGE / "detectors" / "occlusion.py"]).values()
    return card


@cache
def features() -> dict[str, Card]:
    return _cards("features", sorted((_PACKAGE / "features").glob("*.py")))


@cache
def sources() -> dict[str, Card]:
    return _cards("source", sorted((_PACKAGE / "sources").glob("**/*.py"), key=lambda path: path.stem), methods=("index", "read"))


@cache
def steps() -> dict[str, Card]:
    return _cards("step", sorted(path for path in (_PACKAGE / "transforms").glob("*.py") if path.stem != "pipeline"))


def _cards(kind: str, files: list[Path], methods: tuple[str, ...] = ()) -> dict[str, Card]:
    """A card for each file that holds a class of the file's name (`patch_gan.py`: `PatchGAN`) with these methods; other files are parts."""
    found = {}
    for path in files:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == path.stem.replace("_", ""):
                own = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                if own.issuperset(methods):
                    found[path.stem] = _card(kind, path, node)
    return found


def _card(kind: str, path: Path, node: ast.ClassDef) -> Card:
    description = ast.get_docstring(node) or ""
    module = ".".join(("medood", *path.relative_to(_PACKAGE).with_suffix("").parts))
    summary = description.partition("\n")[0]
    parts = [item.args for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    members = any(argument.arg == "members" for part in parts for argument in part.args)
    said = {ast.unparse(item) for item in node.body if isinstance(item, ast.Assign)}
    contrast, rounds = "learns_from_contrast = True" in said, "can_round = True" in said
    parameters, wanted = _parameters(path, node.name, parts), _wanted_features(parts)
    return Card(path.stem, kind, module, node.name, summary, description, parameters, wanted, members, contrast, rounds)


def _wanted_features(parts: list[ast.arguments]) -> Literal["none", "optional", "required"]:
    for part in parts:
        names = [argument.arg for argument in part.args]
        if "features" in names:
            return "optional" if names.index("features") >= len(names) - len(part.defaults) else "required"
    return "none"


def _parameters(path: Path, name: str, parts: list[ast.arguments]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for part in parts:
        if any(argument.arg == "members" for argument in part.args):
            fields["members"] = (list[dict[str, Any]], [])
        for argument, default in zip(part.kwonlyargs, part.kw_defaults, strict=True):
            if argument.annotation is None:
                raise TypeError(f"{path}: parameter {argument.arg} has no annotation")
            value = ... if default is None else ast.literal_eval(default)
            fields[argument.arg] = (_type(argument.annotation, path), value)
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=False), **fields)


def _type(node: ast.expr, path: Path) -> Any:
    """The type that an annotation names, from a closed list: annotations are never evaluated."""
    if isinstance(node, ast.Constant) and node.value is None:
        return None
    if isinstance(node, ast.Name) and node.id in _TYPES:
        return _TYPES[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _type(node.left, path) | _type(node.right, path)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        if node.value.id == "Literal":
            return Literal[ast.literal_eval(node.slice)]
        if node.value.id == "tuple" and isinstance(node.slice, ast.Tuple):
            parts = [... if isinstance(e, ast.Constant) and e.value is ... else _type(e, path) for e in node.slice.elts]
            return tuple[tuple(parts)]  # type: ignore[misc]
        if node.value.id == "list":
            return list[_type(node.slice, path)]  # type: ignore[misc]
    raise TypeError(f"{path}:{node.lineno}: the annotation {ast.unparse(node)} is not one that recipes can check")
