"""The page about a detector of one's own, followed to the letter."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medood.recipe import catalogue
from medood.recipe.loading import load_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "own-detector.md").read_text(encoding="utf-8")
FILE, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.S)
RECIPE = "\n".join(line[4:] for line in PAGE.splitlines() if re.match(r"    (source|transforms|detector): ", line))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file where the page puts it, without touching the package: the catalogue looks here, and Python finds the module."""
    path = tmp_path / "detectors" / "density" / "pixel_gaussian.py"
    path.parent.mkdir(parents=True)
    path.write_text(FILE, encoding="utf-8")
    name = "medood.detectors.density.pixel_gaussian"
    module = ModuleType(name)
    exec(compile(FILE, str(path), "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)
    with monkeypatch.context() as there:
        there.setattr(catalogue, "_PACKAGE", tmp_path)
        found = catalogue._cards("detector", [path])
    monkeypatch.setattr(catalogue, "detectors", lambda: found)
    return tmp_path


def test_its_test_passes(home: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(TEST, "test", "exec"), names)
    names["test_a_pixel_is_judged_by_its_own_place"]()


def test_it_is_found_and_its_recipe_is_right(home: Path) -> None:
    card = catalogue.detectors()["pixel_gaussian"]
    assert card.summary.startswith("Every pixel's distance from the normal images' mean")
    assert card.load().__name__ == "PixelGaussian"
    (home / "my_recipe.yaml").write_text(RECIPE, encoding="utf-8")
    assert load_recipe(home / "my_recipe.yaml").detector == {"name": "pixel_gaussian", "floor": 0.05}
    (home / "my_recipe.yaml").write_text(RECIPE.replace("0.05", "-1"), encoding="utf-8")
    with pytest.raises(Exception, match=r"detector\.floor"):
        load_recipe(home / "my_recipe.yaml")
