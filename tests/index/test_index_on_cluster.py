"""Headers read by the workers of an engine: the same index, nothing lost when they die, and what kills them named."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import WorkerPlugin
from mixed_archive import mixed_archive, picture, series
from pretend_cluster import Death, PretendCluster
from spread_trials import Quiet

from medood.core.errors import MedoodError
from medood.core.volume import Index
from medood.engines import crew
from medood.engines.engine import engine_of
from medood.index import facts, looking
from medood.index.archive import Report, _Here, _update, update
from medood.index.database import reading
from medood.index.facts import Found, rows_of
from medood.index.finding import found_by
from medood.index.names import shown
from medood.index.on_cluster import read_on
from medood.sources.dicom.dicom import Dicom
from medood.sources.folder import Folder
from medood.sources.image import Image
from medood.sources.nifti import Nifti

pytest.importorskip("duckdb", reason="an index needs DuckDB")
KEY = bytes(32)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDOOD_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(looking, "SHARD", 5)


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which workers that do not run beside us allow."""
    monkeypatch.setattr(crew, "_LOOK", 0.0)


@pytest.fixture
def root(tmp_path: Path, looks_at_once: None) -> Path:
    return mixed_archive(tmp_path / "archive")


def update_on(cluster: Any, root: Path, file: Path, console: Quiet | None = None) -> Report:
    console = console or Quiet()
    return _update(_Here(root, cluster, 1, console), file, console, 0.0)


def held(root: Path, file: Path, source: Any = None) -> Index:
    with found_by(source or Folder(root), root, file, Quiet()) as index:
        return Index(index.root, tuple(index.entries), tuple(index.problems))


def rows_in(file: Path) -> list[tuple[Any, ...]]:
    with reading(file) as database:
        return sorted(database.rows("select * from files"), key=lambda row: row[0])


def killed_by(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Reading files of these names ends the worker; the list fills with the names of all that are read."""
    begun: list[str] = []
    whole = facts._row

    def deadly(folder: Folder, file: Found, memory: Any, once: bool) -> Any:
        if not memory.answers:  # it is to be opened
            begun.append(file.name)
            if file.name in names:
                raise Death
        return whole(folder, file, memory, once)

    monkeypatch.setattr(facts, "_row", deadly)
    return begun


def test_the_index_is_that_of_one_process(root: Path, tmp_path: Path) -> None:
    here, there, console = tmp_path / "here.duckdb", tmp_path / "there.duckdb", Quiet()
    one = update(root, here, workers=1, console=Quiet())
    other = update_on(PretendCluster(3), root, there, console)
    assert (other.files, other.read, other.entries, other.problems) == (one.files, one.read, one.entries, one.problems)
    assert rows_in(there) == rows_in(here)
    assert held(root, there) == held(root, here) == _plain(root)
    assert "Reading headers with 3 workers." in console.said


def _plain(root: Path) -> Index:
    index = Folder(root).index()
    return Index(index.root, tuple(index.entries), tuple(index.problems))


def test_only_what_is_new_goes_to_the_workers(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, begun = tmp_path / "index.duckdb", killed_by(monkeypatch)
    update_on(PretendCluster(2), root, file)
    begun.clear()
    console = Quiet()
    update_on(PretendCluster(2), root, file, console)
    assert not begun
    assert not any("workers" in text for text in console.said)
    picture(root / "photos" / "new.png")
    update_on(PretendCluster(2), root, file)
    assert begun == ["photos/new.png"]
    assert held(root, file) == _plain(root)


def test_nothing_is_lost_with_a_worker(root: Path, tmp_path: Path) -> None:
    cluster, calls = PretendCluster(2), iter(range(10_000))

    def fate(address: str) -> None:
        if next(calls) in (3, 8):
            raise Death

    cluster.before = fate
    file = tmp_path / "index.duckdb"
    update_on(cluster, root, file)
    assert cluster.deaths == 2
    assert held(root, file) == _plain(root)


@pytest.mark.parametrize("name", ["photos/skin0.png", "two/2-1.dcm", "sub-01/flair.nii.gz", "z/elsewhere/slice", ".hidden/9-0.dcm"])
def test_a_file_that_kills_twice_is_a_problem_and_the_rest_is_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file, cluster, begun = tmp_path / "index.duckdb", PretendCluster(2), killed_by(monkeypatch, name)
    report = update_on(cluster, root, file)
    assert (begun.count(name), cluster.deaths) == (2, 2)
    assert set(begun) == {shown(row[0]) for row in rows_in(file)}
    assert report.read == report.files == len(rows_in(file))
    found = held(root, file)
    assert [problem.path for problem in found.problems if problem.code == "worker_died"] == [name]
    (root / name).write_bytes(b"no image")  # as unreadable a file in its place; it is another one now
    plain = _plain(root)
    assert {entry.id for entry in found.entries} == {entry.id for entry in plain.entries}
    begun.clear()
    monkeypatch.undo()
    monkeypatch.setenv("MEDOOD_CONFIG", str(tmp_path / "config"))
    update(root, file, workers=1, console=Quiet())
    assert held(root, file) == plain


@pytest.mark.parametrize("source", [Dicom, Image, Nifti, Folder])
def test_what_has_killed_is_opened_by_nobody(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Callable[[Path], Any]
) -> None:
    names = {"photos/skin0.png", "two/2-1.dcm", "sub-01/flair.nii.gz"}
    file = tmp_path / "index.duckdb"
    killed_by(monkeypatch, *names)
    update_on(PretendCluster(2), root, file)
    whole = Path.open

    def watched(path: Path, *arguments: Any, **more: Any) -> Any:
        assert path.relative_to(root).as_posix() not in names if path.is_relative_to(root) else True
        return whole(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", watched)
    used = {path.relative_to(root).as_posix() for entry in held(root, file, source(root)).entries for path in entry.files}
    assert not names & used


def test_the_last_file_may_be_the_one_that_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks_at_once: None) -> None:
    root = tmp_path / "one"
    picture(root / "only.png")
    killed_by(monkeypatch, "only.png")
    update_on(PretendCluster(1), root, tmp_path / "index.duckdb")
    assert [problem.code for problem in held(root, tmp_path / "index.duckdb").problems] == ["worker_died"]


def test_who_does_not_see_the_files_is_found_before_work_starts(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = killed_by(monkeypatch)
    elsewhere = Found(0, "gone.png", 17, 0, False)
    with pytest.raises(MedoodError, match=r"The worker tcp://here:1000 cannot take part: it does not see the files below .*archive"):
        list(read_on(PretendCluster(1), root, KEY, Quiet(), [[elsewhere]]))
    assert not begun


def test_the_key_stands_in_nothing_that_an_engine_may_log(root: Path) -> None:
    asked: list[Any] = []

    class Listening(PretendCluster):
        def give(self, number: int, address: str, function: Callable[..., Any], *arguments: Any) -> None:
            asked.append(pickle.loads(pickle.dumps((function, arguments))))
            super().give(number, address, function, *arguments)

    files = [Found(0, "chest.dcm", (root / "chest.dcm").stat().st_size, 0, False)]
    (rows,) = read_on(Listening(1), root, b"\x17" * 32, Quiet(), [files])
    assert rows == rows_of(root, files, b"\x17" * 32)
    assert len(asked) == 2
    assert not any("\\x17" in repr(each) or "chest" in repr(each) for each in asked)


class DiesOver(WorkerPlugin):
    """Ends the worker that reads the header of a file with this name."""

    name = "dies"

    def __init__(self, file: str) -> None:
        self.file = file

    def setup(self, worker: Any) -> None:
        whole, deadly = facts.read_header, self.file

        def read(path: Path, name: str) -> Any:
            return os._exit(9) if name == deadly else whole(path, name)

        facts.read_header = read


def test_real_workers_read_the_same(tmp_path: Path) -> None:
    root, file = tmp_path / "archive", tmp_path / "index.duckdb"
    for number in range(3):
        series(root / f"s{number}", number + 1)
    picture(root / "poison.png")
    options: dict[str, Any] = {"dashboard_address": None, "memory_limit": None, "silence_logs": logging.CRITICAL}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=True, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(DiesOver("poison.png"))
        engine = engine_of("dask://" + cluster.scheduler_address.removeprefix("tcp://"), None)
        report = update(root, file, engine=engine, console=Quiet())
    assert (report.files, report.read, report.entries, report.problems) == (13, 13, 3, 1)
    assert [problem.code for problem in held(root, file).problems] == ["worker_died"]
    (root / "poison.png").unlink()
    update(root, file, workers=1, console=Quiet())
    assert held(root, file) == _plain(root)
