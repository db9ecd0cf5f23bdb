"""The shelves of a cache: counted, removed when old or too many, and never under whoever uses them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medood.cli import app
from medood.core.errors import MedoodError
from medood.core.files.shelves import cache_limit, clear, keep_within, shelves
from medood.tasks.images.cache import bytes_in, seconds_in, spoken

FILL = """
import sys
from pathlib import Path
from medood.core.files.shelves import use
folder = Path(sys.argv[1])
use(folder, {"source": "folder", "transforms": "grey", "size": "8x8"})
name = "facts.json" if sys.argv[2] == "images" else "layer.npy"
(folder / "entry").mkdir(exist_ok=True)
(folder / "entry" / name).write_bytes(bytes(int(sys.argv[3])))
print("ready", flush=True)
sys.stdin.read()
"""


def user(folder: Path, size: int, kind: str = "images") -> subprocess.Popen[bytes]:
    """A process that has filled a shelf and still uses it."""
    process = subprocess.Popen([sys.executable, "-c", FILL, folder, kind, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def shelf(cache: Path, letter: str, size: int, days: int, kind: str = "images") -> Path:
    """A shelf that a process filled some days ago."""
    folder = (cache / "features" if kind == "features" else cache) / (letter * 16)
    user(folder, size, kind).communicate(b"")
    stamp = folder.parent / ".shelves" / folder.name / "used"
    then = stamp.stat().st_mtime - 86_400 * days
    os.utime(stamp, (then, then))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three shelves of 1000 bytes each, used 30, 20 and 10 days ago, and files that are not the cache's."""
    monkeypatch.setenv("MEDOOD_CONFIG", str(tmp_path / "config"))
    folder = tmp_path / "cache"
    shelf(folder, "a", 1000, 30)
    shelf(folder, "b", 1000, 20, "features")
    shelf(folder, "c", 1000, 10)
    (folder / "thesis").mkdir()
    (folder / "thesis" / "text").write_text("mine")
    return folder


def test_they_are_listed_last_used_first(cache: Path) -> None:
    found = shelves(cache)
    assert [(each.folder.name[0], each.kind, each.items, each.bytes, each.in_use) for each in found] == [
        ("c", "images", 1, 1000, False),
        ("b", "features", 1, 1000, False),
        ("a", "images", 1, 1000, False),
    ]
    assert found[0].about == {"source": "folder", "transforms": "grey", "size": "8x8"}


def test_old_ones_go_and_others_files_stay(cache: Path) -> None:
    gone, kept = clear(cache, older_than=15 * 86_400)
    assert ({each.folder.name[0] for each in gone}, kept) == ({"a", "b"}, [])
    assert [each.folder.name[0] for each in shelves(cache)] == ["c"]
    clear(cache)
    assert shelves(cache) == []
    assert (cache / "thesis" / "text").read_text() == "mine"


def test_the_longest_unused_go_first(cache: Path) -> None:
    assert keep_within(cache, None) == keep_within(cache, 3000) == []
    assert [each.folder.name[0] for each in keep_within(cache, 2999)] == ["a"]
    assert [each.folder.name[0] for each in keep_within(cache, 0)] == ["b", "c"]


def test_what_is_in_use_stays_until_its_user_ends_however_it_does(cache: Path) -> None:
    process = user(cache / ("a" * 16), 1000)
    assert next(each for each in shelves(cache) if each.folder.name[0] == "a").in_use
    gone, kept = clear(cache)
    assert ({each.folder.name[0] for each in gone}, [each.folder.name[0] for each in kept]) == ({"b", "c"}, ["a"])
    assert keep_within(cache, 0) == []
    process.kill()
    process.wait()
    assert [each.folder.name[0] for each in keep_within(cache, 0)] == ["a"]
    assert shelves(cache) == []


def test_the_commands(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    runner, place = CliRunner(), ["--cache", str(cache)]
    listed = runner.invoke(app, ["cache", "list", *place]).stdout
    assert "folder, grey, 8x8" in listed
    assert "3.0 KB, no limit" in listed
    assert runner.invoke(app, ["cache", "limit", "2kb", *place]).stdout == "Removed 1.0 KB.\n"
    assert cache_limit() == 2000
    assert "limit 2.0 KB" in runner.invoke(app, ["cache", "list", *place]).stdout
    assert runner.invoke(app, ["cache", "clear", "--older", "15d", *place]).stdout == "Removed 1.0 KB.\n"
    assert runner.invoke(app, ["cache", "limit", "none", *place]).stdout == "Removed 0 bytes.\n"
    assert cache_limit() is None
    assert runner.invoke(app, ["cache", "limit", "much", *place]).exit_code == 2


def test_sizes_and_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (bytes_in("1.5GB"), bytes_in("20 mb"), bytes_in("7")) == (1_500_000_000, 20_000_000, 7)
    assert (seconds_in("12h"), seconds_in("2d"), spoken(1_500_000_000)) == (43_200, 172_800, "1.5 GB")
    for wrong in ("", "ten", "-3GB", "3 parsecs"):
        with pytest.raises(MedoodError, match="is no size"):
            bytes_in(wrong)
        with pytest.raises(MedoodError, match="is no time"):
            seconds_in(wrong)
    monkeypatch.setenv("MEDOOD_CONFIG", str(tmp_path))
    (tmp_path / "cache.json").write_text("[]")
    with pytest.raises(MedoodError, match="set the limit again"):
        cache_limit()
