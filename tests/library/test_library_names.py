"""What `import medood` offers, and the examples of its docstrings."""

from __future__ import annotations

import ast
import doctest
import inspect
from pathlib import Path

import pytest
import torch

import medood

TEXT = Path(medood.__file__).read_text(encoding="utf-8")


def offered_to_type_checkers() -> dict[str, str]:
    (block,) = [node for node in ast.parse(TEXT).body if isinstance(node, ast.If)]
    return {alias.asname or alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_type_checkers_see_what_is_there() -> None:
    seen = offered_to_type_checkers()
    assert {"load", "read", "train", "detector", "Run", "Result", "Volume", "Detector"} <= seen.keys()
    assert set(seen) <= set(dir(medood))
    for name, home in seen.items():
        value = getattr(medood, name)
        assert value.__module__ == home if hasattr(value, "__module__") and name != "Update" else value is not None
    assert seen.keys() == medood._HOME_OF.keys()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scor'"):
        medood.scor  # noqa: B018
    assert not hasattr(medood, "__wrapped__")


def test_everything_that_is_offered_is_explained() -> None:
    for name in offered_to_type_checkers().keys() - {"Update"}:  # the name of a type, explained where it is defined
        value = getattr(medood, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
            for member, function in inspect.getmembers(value, inspect.isfunction):
                if not member.startswith("_") and function.__module__.startswith("medood.library"):
                    assert inspect.getdoc(function), f"{name}.{member}"


def test_the_examples_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDOOD_CACHE", str(tmp_path / "cache"))
    ran = 0
    torch.manual_seed(0)
    finder, runner = doctest.DocTestFinder(recurse=True), doctest.DocTestRunner(verbose=False)
    for name in offered_to_type_checkers():
        for test in finder.find(getattr(medood, name), name, module=False, globs={}):
            ran += runner.run(test, clear_globs=True).attempted
    assert ran >= 10
    assert runner.summarize(verbose=False).failed == 0
