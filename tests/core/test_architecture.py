"""Who may import whom, and what the light commands must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import medood

PACKAGE = Path(medood.__file__).parent
_LOWER = {"core", "recipe", "sources", "transforms", "nets", "features", "detectors"}
_LOWER |= {"engines", "training", "metrics", "index", "data", "gate", "export", "dicom_objects", "scoring", "evaluation"}
_CARRIED = {"core", "recipe", "transforms", "features", "detectors", "metrics", "data", "scoring"}
ALLOWED = {
    "core": {"core"},
    "recipe": {"core", "recipe"},
    "sources": {"core", "sources"},
    "transforms": {"core", "recipe", "transforms"},
    "nets": {"core", "nets"},
    "features": {"core", "nets", "features"},
    "detectors": {"core", "nets", "features", "detectors"},
    "pretraining": {"core", "nets", "features", "pretraining"},
    "training": {"core", "recipe", "nets", "training"},
    "engines": {"core", "engines"},
    "metrics": {"core", "metrics"},
    "index": {"core", "sources", "engines", "index"},
    "data": {"core", "recipe", "sources", "transforms", "index", "data"},
    "gate": {"core", "gate"},
    "export": {"core", "transforms", "export"},
    "dicom_objects": {"core", "sources", "export", "dicom_objects"},
    "scoring": {"core", "recipe", "transforms", "metrics", "data", "gate", "export", "dicom_objects", "engines", "features", "scoring"},
    "evaluation": {"core", "sources", "transforms", "metrics", "data", "export", "scoring", "evaluation"},
    "reporting": {"core", "export", "scoring", "evaluation", "reporting"},
    "artefacts": {*_CARRIED, "artefacts"},
    "advising": {*_LOWER, "advising"},
    "benchmarking": {*_LOWER, "benchmarking"},
    "node": {"core", "recipe", "sources", "node"},
    "tasks": {*_LOWER, "reporting", "artefacts", "pretraining", "advising", "benchmarking", "node", "tasks"},
    "library": {*_LOWER, "tasks", "library"},
    "cli": {"core", "recipe", "sources", "engines", "export", "scoring", "evaluation", "tasks", "cli"},
}
BY_NAME = {"recipe/catalogue.py": 1, "core/detector.py": 1}
"""Where a part may load modules by their names, which imports do not show, and how often."""


def imported(text: str) -> set[str]:
    """Modules that a file's text imports anywhere, function bodies included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parts_used(text: str) -> set[str]:
    return {name.split(".")[1] for name in imported(text) if name.startswith("medood.") and (PACKAGE / name.split(".")[1]).is_dir()}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/**/*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_parts_import_only_what_they_may(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0]
    assert parts_used(path.read_text(encoding="utf-8")) <= ALLOWED[part]


def test_the_tasks_of_a_group_of_commands_are_in_a_folder_of_its_name() -> None:
    """So that who has found the options of a command finds what it does, and the other way round."""
    groups = {path.parent.name for path in (PACKAGE / "tasks").glob("*/__init__.py")}
    assert "scoring" in groups
    for group in groups:
        text = (PACKAGE / "cli" / f"{group}.py").read_text(encoding="utf-8")
        assert any(name.startswith(f"medood.tasks.{group}.") for name in imported(text)), group


def test_modules_are_loaded_by_name_in_few_places_only() -> None:
    texts = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.glob("*/**/*.py")}
    found = {name: text.count("import_module(") for name, text in texts.items()}
    assert {name: count for name, count in found.items() if count} == BY_NAME


def test_only_training_uses_ignite() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in PACKAGE.glob("**/*.py")}
    users = {path.relative_to(PACKAGE).parts[0] for path, text in texts.items() if any(n.startswith("ignite") for n in imported(text))}
    assert users == {"training"}


def test_the_rule_itself_sees_imports_inside_functions() -> None:
    assert parts_used("def f():\n    from medood.tasks.training.train import train_recipe\n") == {"tasks"}
    assert parts_used("from medood import tasks\n") == {"tasks"}


def modules_after(code: str) -> set[str]:
    """Top-level packages in sys.modules after `code` ran in a fresh interpreter."""
    script = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('MODULES', *{{name.split('.')[0] for name in sys.modules}})"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["recipe", "check", "demo"], ["recipe", "list"], ["detectors"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_after(f"sys.argv = {['medood', *arguments]!r}; from medood.cli import main; main()")
    assert "typer" in loaded
    assert not loaded & {"torch", "monai", "numpy", "ignite", "scipy", "pydicom", "nibabel"}


def test_the_library_imports_nothing_heavy_before_it_is_used() -> None:
    loaded = modules_after("import medood; dir(medood); assert 'load' in dir(medood)")
    assert "medood" in loaded
    assert not loaded & {"torch", "monai", "numpy", "ignite", "scipy", "pydicom", "nibabel", "SimpleITK", "pydantic", "rich", "typer"}
    assert not modules_after("import medood; medood.MedoodError; medood.load_recipe('demo')") & {"torch", "numpy"}


def test_the_purity_test_would_notice() -> None:
    assert "numpy" in modules_after("import numpy")


def circles(needs: dict[str, set[str]]) -> list[str]:
    """Modules that need each other, directly or by way of others; `needs` has what each module imports."""
    reach = {name: set(found) for name, found in needs.items()}
    while True:
        grown = {name: found.union(*(reach.get(other, set()) for other in found)) for name, found in reach.items()}
        if grown == reach:
            return sorted(name for name, found in reach.items() if name in found)
        reach = grown


def test_no_two_files_need_each_other() -> None:
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in PACKAGE.glob("*/**/*.py")}
    modules = set(names.values())
    assert circles({name: imported(path.read_text(encoding="utf-8")) & modules for path, name in names.items()}) == []


def test_the_circle_test_would_notice() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def overridden(text: str) -> set[str]:
    """Methods that a file's classes define although every detector offers them as they are."""
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    return {item.name for node in classes for item in node.body if isinstance(item, ast.FunctionDef)} & {"fit", "mark_fitted"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "detectors").glob("**/*.py")), ids=lambda path: path.stem)
def test_no_detector_hides_what_all_detectors_offer(path: Path) -> None:
    assert overridden(path.read_text(encoding="utf-8")) == set(), "call what solves a closed form `solve`"


def test_the_test_for_hidden_methods_would_notice() -> None:
    assert overridden("class A:\n    def fit(self): ...\n") == {"fit"}
