"""Input that was made to break things: one sentence each, nothing lost, nothing hanging."""

from __future__ import annotations

import csv
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from medood.core.errors import InputError, MedoodError, RecipeError
from medood.core.files.atomic import append, atomic_folder
from medood.core.volume import Entry, Origin
from medood.data.cache import Cache
from medood.recipe.benchmarks.grid import check_file
from medood.recipe.literals import parse_value, read_literals
from medood.recipe.recipe import Preparation
from medood.scoring.table import ScoreTable
from medood.sources.folder import Folder
from medood.sources.phantoms.phantom import Phantom
from medood.tasks.looking.overlay import overlay
from medood.transforms.pipeline import Pipeline

RECIPES = {
    "alias bomb": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "contains itself": "a: &a [*a]\n",
    "deep": "a: " + "[" * 400 + "]" * 400,
    "key that is a list": "? [1, 2]\n: 3\n",
    "tag": "seed: !!int x\n",
    "python tag": "seed: !!python/name:os.system\n",
    "huge number": "seed: " + "9" * 5000 + "\n",
}


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES.keys())
def test_tricks_in_a_recipe_are_refused_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_literals(tmp_path / "r.yaml")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["!!int x", "[" * 400, "9" * 5000, "{a: *b}"])
def test_tricks_in_a_changed_value_are_refused(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_value(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("summary: x\n", "detector: this key is missing"),
        ("source: {name: phantom, root: [1]}\ntransforms: brats_flair\ndetector: {name: autoencoder}\n", "source.root"),
        ("source: {name: phantom}\ntransforms: brats_flair\ndetector: {name: [1]}\n", "detector.name: found [1]"),
        ("source: {name: phantom}\ntransforms: brats_flair\ndetector: {name: autoencoder, latent: 99999999999}\n", "less than"),
        ("steps: [{percentile_scale: 5}]\n", "steps.0: expected `percentile_scale: {parameters}`"),
    ],
)
def test_a_recipe_that_would_break_later_does_not_pass_the_check(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        check_file(tmp_path / "r.yaml")
    assert words in str(caught.value)


def cache(folder: Path) -> Cache:
    steps = [{"foreground": {}}, {"robust_scale": {}}, {"scale_range": {"low": -4.0, "high": 6.0}}]
    return Cache(Pipeline(Preparation(size=(32, 32), background=0.0, steps=steps)), ("phantom", {}), folder)


def test_many_may_fill_one_cache_at_once(tmp_path: Path) -> None:
    source = Phantom(subjects=1, size=32, slices=8)
    (entry,) = source.index().entries
    stores = [cache(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda store: store.prepared(source, entry), stores))
    assert len({one.folder for one in found}) == 1
    assert all(np.array_equal(one.open(), found[0].open()) for one in found)
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize(("name", "content"), [("images.npy", b"cut"), ("facts.json", b"{"), ("facts.json", b"[]"), ("images.npy", None)])
def test_a_damaged_cache_is_made_again(tmp_path: Path, name: str, content: bytes | None) -> None:
    source = Phantom(subjects=1, size=32, slices=8)
    (entry,) = source.index().entries
    before = cache(tmp_path).prepared(source, entry)
    images = np.array(before.open())
    (before.folder / name).unlink()
    if content is not None:
        (before.folder / name).write_bytes(content)
    assert np.array_equal(cache(tmp_path).prepared(source, entry).open(), images)


def test_replacing_a_folder_leaves_no_traces(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "x") as part:
            (part / "a").write_text(text)
    assert (tmp_path / "x" / "a").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_short_write_is_never_passed_over() -> None:
    class Slow:
        content = b""

        def write(self, rest: memoryview) -> int:
            self.content += bytes(rest[:3])
            return min(3, len(rest))

        def fileno(self) -> int:
            return os.open(os.devnull, os.O_RDONLY)

    slow = Slow()
    with suppress(OSError):  # /dev/null may refuse to be synchronised
        append(slow, b"0123456789")
    assert slow.content == b"0123456789"


ROW = {"level": "image", "status": "ok", "score": 0.5, "group": "p"}


def test_scores_of_another_series_are_not_continued(tmp_path: Path) -> None:
    """Series of one folder are numbered by their UIDs: when one comes, others move."""
    before, now = (Entry("in#1", (), "p", origin=Origin(series_uid=uid)) for uid in ("1.2.5", "1.2.3"))
    table = ScoreTable(tmp_path / "s.csv", [], resume=False)
    table.add([{"level": "series", "id": "in#1", "group": "p", "series_uid": "1.2.5", "status": "ok"}])
    table.close()
    again = ScoreTable(tmp_path / "s.csv", [], resume=True)
    assert again.has(before)
    assert not again.has(Entry("in#2", (), "p", origin=Origin(series_uid="1.2.3")))
    with pytest.raises(MedoodError, match=r"scores of another series than the one that is called in#1 now.*--overwrite"):
        again.has(now)
    again.close()


def test_ids_that_look_like_formulas_are_found_again_by_resume(tmp_path: Path) -> None:
    names = ["=cmd.png", "+1.png", "-x.png", "@a.png", "plain.png", "a\rb.png", 'c"d,e.png', "'=f.png"]
    table = ScoreTable(tmp_path / "s.csv", [], resume=False)
    for name in names:
        table.add([ROW | {"id": name}])
    table.close()
    again = ScoreTable(tmp_path / "s.csv", [], resume=True)
    again.close()
    assert all(again.holds(name) for name in names)
    assert (tmp_path / "s.csv").read_bytes().count(b"\n") == 1 + len(names)


@pytest.mark.parametrize("name", ["a\rb.png", "a\r", "a\nb.png", "a\r\nb.png", 'a"b,c;d.png', " a ", "a\u2028b", "[/x]/a.png", "'a"])
def test_a_name_may_hold_any_character(tmp_path: Path, name: str) -> None:
    table = ScoreTable(tmp_path / "s.csv", [], resume=False)
    for identifier in (name, "next.png"):
        table.add([ROW | {"id": identifier}])
    table.close()
    before = (tmp_path / "s.csv").read_bytes()
    for _ in range(2):
        again = ScoreTable(tmp_path / "s.csv", [], resume=True)
        again.close()
        assert again.holds(name)
        assert again.holds("next.png")
        assert (tmp_path / "s.csv").read_bytes() == before
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [name, "next.png"]
    assert before.count(b"\r") == name.count("\r")  # lines end with a line feed alone


def test_a_problem_that_is_called_as_an_entry_is_does_not_pass_for_it(tmp_path: Path) -> None:
    """Of a folder with two series one may be refused under the folder's name, while the other is the entry of that name."""
    table = ScoreTable(tmp_path / "s.csv", [], resume=False)
    table.add([{"level": "file", "id": "folder", "status": "error", "reason": "mixed_geometry: ..."}])
    table.add([{"level": "file", "id": "broken", "group": "patient", "status": "error", "reason": "unreadable: ..."}])
    table.close()
    again = ScoreTable(tmp_path / "s.csv", [], resume=True)
    again.close()
    assert (again.holds("folder"), again.has_problem("folder")) == (False, True)
    assert (again.holds("broken"), again.has_problem("broken")) == (True, False)


def test_a_file_name_that_is_no_utf_8_does_not_stop_a_scoring(tmp_path: Path) -> None:
    table = ScoreTable(tmp_path / "s.csv", [], resume=False)
    table.add([ROW | {"id": "a\udcff.png"}])
    table.close()
    again = ScoreTable(tmp_path / "s.csv", [], resume=True)
    again.close()
    assert again.holds("a\udcff.png")
    (tmp_path / "s.csv").read_text(encoding="utf-8")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are not on this system")
def test_a_pipe_in_the_folder_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    assert Folder(tmp_path).index().entries == ()


@pytest.mark.parametrize("header", ["[]", "null", '{"version": 1}', "{"])
def test_a_damaged_folder_of_maps_is_named(tmp_path: Path, header: str) -> None:
    (tmp_path / "maps.json").write_text(header)
    (tmp_path / "maps.jsonl").write_text("{}\n")
    with pytest.raises(MedoodError, match="damaged"):
        overlay(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("line", ["[]", "{}", '{"id": 3, "map": "a"}', '{"id": "a", "map": "../../secret"}'])
def test_a_damaged_list_of_maps_is_named(tmp_path: Path, line: str) -> None:
    header = {"version": 2, "run": "r", "source": {}, "scale": {"low": 0, "high": 1, "threshold": 0}}
    (tmp_path / "maps.json").write_text(json.dumps(header))
    (tmp_path / "maps.jsonl").write_text(line + "\n")
    with pytest.raises(MedoodError, match="damaged"):
        overlay(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("number", ["nan", "inf", "10.5", "-1", "x"])
def test_a_slice_that_is_no_number_is_refused(tmp_path: Path, number: str) -> None:
    from medood.evaluation.labelled_scores import read_labels

    (tmp_path / "labels.csv").write_text(f"id,slice,label\na,{number},1\n")
    with pytest.raises(InputError, match=r"labels\.csv:2"):
        read_labels(tmp_path / "labels.csv")
