"""The reference pages, as far as they are made without MkDocs."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from api_page import SECTIONS, api_page
from docstrings import definitions, linked, split

import medood
from medood.tasks.reference.listing import sections

DOCSTRING = """Says it in one line.

first         where it begins;  second, third  two more on the same line
fifth         here;
              sixth  there
fourth        over several
              lines, in points:
              - one
              - two

    indented   stays as it is

Raises an error.

>>> 1 + 1
2
"""


def test_explanations_leave_the_text_and_keep_their_lines() -> None:
    text, explained = split(DOCSTRING)
    assert explained == {
        "first": "where it begins",
        "second": "two more on the same line",
        "third": "two more on the same line",
        "fifth": "here",
        "sixth": "there",
        "fourth": "over several\nlines, in points:\n- one\n- two",
    }
    assert text.startswith("Says it in one line.\n\n    indented   stays as it is")
    assert text.endswith("Raises an error.\n\n```pycon\n>>> 1 + 1\n2\n```")


def test_points_of_an_explanation_become_a_list() -> None:
    assert definitions([("`x`", "one of\n- a\n- b\nor none")]) == "`x`\n:   one of\n    \n    - a\n    - b\n    \n    or none"


def test_names_are_linked_but_not_in_code() -> None:
    text = "See `load` and `other`.\n\n```\n`load`\n```\n"
    assert linked(text, {"load": "#load"}.get) == "See [`load`](#load) and `other`.\n\n```\n`load`\n```\n"


def test_every_key_of_a_recipe_is_explained() -> None:
    for title, section in sections().items():
        _, explained = split(inspect.getdoc(section) or "")
        assert section.model_fields.keys() == explained.keys(), title


def test_the_python_page_explains_everything_that_is_offered() -> None:
    page = api_page()
    assert [name for _, _, names in SECTIONS for name in names if f"### {name} {{#{name}}}" not in page] == []
    assert "device: str = 'auto'" in page
    assert "`score` <small>`float | None`</small>" in page
    assert "[`medood.load`](#load)" in page
    assert "_grid" not in page


def test_a_name_that_nobody_put_on_the_page_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(medood._HOME_OF, "forgotten", "library.run")
    with pytest.raises(ValueError, match="forgotten"):
        api_page()
