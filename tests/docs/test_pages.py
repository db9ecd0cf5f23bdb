"""What the README and the pages tell a reader to type exists, and the recipes that they show are right."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from medood.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs").glob("*/*.ipynb"))]
RECIPE = re.compile(r"(?:^ {4}(?:source|transforms|features|detector|pooling|training): .*\n)+", re.M)


def text_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return text


def commands_in(text: str) -> Iterator[str]:
    """Commands in blocks of code, with the lines that they go on in, and in code within a sentence."""
    for number, part in enumerate(re.split(r"^```.*$", text, flags=re.M)):
        begin = r"(?:\$ )?" if number % 2 else r" {4}(?:\$ )?"
        for line in re.findall(rf"^{begin}(medood (?:.*\\\n)*.*)$", part, re.M):
            commands = line.partition("  #")[0].replace("\\\n", " ").split("&&")
            yield from (command.strip() for command in commands if command.strip().startswith("medood "))
    yield from re.findall(r"(?<!`)`(medood [^`]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_of_a_page_exists(page: Path) -> None:
    for text in commands_in(text_of(page)):
        words = shlex.split(text.replace("...", " "))[1:]
        command, name = typer.main.get_command(app), "medood"
        while words and hasattr(command, "commands") and words[0].islower() and not words[0].startswith("-"):
            name = f"{name} {words[0]}"
            assert words[0] in command.commands, f"{text!r}: there is no command {name}"
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= known, f"{text!r}: {name} has no {given - known}"


def test_the_pages_show_the_commands_that_matter() -> None:
    used = {command.split()[1] for page in PAGES for command in commands_in(text_of(page)) if len(command.split()) > 1}
    assert {"train", "score", "overlay", "evaluate", "benchmark", "inspect", "plot", "labels", "phantoms", "doctor", "recipe"} <= used


@pytest.mark.parametrize("page", [page for page in PAGES if RECIPE.search(text_of(page))], ids=lambda page: page.name)
def test_the_recipes_of_a_page_pass_the_check(page: Path, tmp_path: Path) -> None:
    if page.name == "own-detector.md":
        return  # its detector is what the page goes on to write; test_own_detector follows it
    for number, text in enumerate(RECIPE.findall(text_of(page))):
        recipe = tmp_path / f"recipe_{number}.yaml"
        recipe.write_text("\n".join(line[4:] for line in text.splitlines()), encoding="utf-8")
        if "source:" in text and "detector:" in text:
            result = CliRunner().invoke(app, ["recipe", "check", str(recipe)])
            assert "no mistakes found" in result.output, result.output


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    made = ("reference/", "api.md")  # when the site is built, which checks them itself
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text_of(page)):
        assert link.startswith(made) or (page.parent / link).exists(), link
