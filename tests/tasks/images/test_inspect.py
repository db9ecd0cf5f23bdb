"""What `inspect` prints: everything within 80 columns, and every code in words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from medood.core.issue_codes import WORDS, explained
from medood.core.volume import Entry, Index, Origin, Problem
from medood.tasks.images import inspect
from medood.tasks.images.from_archive import Images
from medood.tasks.images.inspect import inspect_images

SOURCES = Path(inspect.__file__).parents[2] / "sources"


def entry(name: str, group: str, *issues: str, slices: int = 24, modality: str = "MR") -> Entry:
    return Entry(name, (Path(name),), group, slices=slices, origin=Origin(modality=modality), issues=issues)


def printed(index: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    class Source:
        def index(self) -> Index:
            return index

    monkeypatch.setattr(inspect, "open_source", lambda *_, **__: Source())
    monkeypatch.setenv("COLUMNS", "80")
    inspect_images(Images.below(tmp_path), "folder", None, False)
    return capsys.readouterr().out


LONG = "a_study/of/many_folders/that_go_on/and_on/with_a_long_name_[bold]/series_0001_of_the_patient"


def test_everything_is_there_within_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    entries = (
        entry(LONG, "patient_with_a_key_of_some_length", "gantry_tilt:15.0", "lossy", "photometric_interpretation_assumed"),
        entry("short", "p2", "lossy", "something_new:7"),
    )
    message = "This is refused for a reason that takes a sentence and then another one to tell. Do something about it."
    text = printed(Index(tmp_path, entries, (Problem(LONG, "too_large", message),)), monkeypatch, capsys, tmp_path)
    assert max(map(len, text.splitlines())) <= 80
    together = re.sub(r"\s", "", text)
    for word in (message, "lossy(2):compressedwithloss.", "gantry_tilt(1)", "something_new(1):somethingnew.", f"{LONG}:"):
        assert re.sub(r"\s", "", word) in together
    assert "gantry_tilt:15.0" in text
    assert "p2" in text
    assert "Series or single images: 2; images in them: 48; patients: 2." in text


def test_what_says_nothing_gets_no_column(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    entries = tuple(entry(f"{n}.png", f"{n}.png", slices=1, modality="") for n in range(50))
    text = printed(Index(tmp_path, entries), monkeypatch, capsys, tmp_path)
    heads = text.splitlines()[0].split()
    assert heads == ["images", "id"]
    assert "... and 10 more; --json lists all." in text
    assert "Each image counts as one patient" in text
    assert "Issues" not in text


def test_codes_that_the_sources_give_are_explained() -> None:
    """Those that stand in a line about issues; a code may have a value after a colon."""
    lines = [line for path in SOURCES.rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines() if "issues" in line]
    found = {code for line in lines for code in re.findall(r'f?"([a-z0-9]+(?:_[a-z0-9]+)+)(?=:|"(?!\]))', line.partition("#")[0])}
    assert len(found) > 15
    assert found - WORDS.keys() == set()


def test_words_are_sentences_without_their_end() -> None:
    for code, words in WORDS.items():
        assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", code)
        assert words[-1] not in ".:"
        assert explained(f"{code}:3") == words
    assert json.dumps(WORDS).isascii()
