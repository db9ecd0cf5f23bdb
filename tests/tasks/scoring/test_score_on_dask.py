"""Scoring by real Dask workers in processes of their own, which are killed, come late, and lose their driver."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from spread_trials import (
    Quiet,
    Trouble,
    counted,
    readings,
    rows_of,
    same_rows,
    small_run,
    wait_until,
    write_images,
    write_picture,
)

from medood.core.errors import MedoodError
from medood.engines import dask_cluster as dask
from medood.engines.dask_cluster import DaskCluster, crew_size, dask_cluster, visible_gpus
from medood.engines.engine import Engine, engine_of
from medood.export.map_list import read_lines
from medood.tasks.scoring.score import score_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dask")
    small_run(folder)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers, which are started again when they die."""
    options: dict[str, Any] = {"dashboard_address": None, "memory_limit": None, "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def engine(cluster: LocalCluster, client: Client, tmp_path: Path) -> Engine:
    """The cluster with both workers there; they stumble over the images of this test."""
    client.wait_for_workers(2, timeout=120)
    client.register_plugin(Trouble(tmp_path))
    return engine_of("dask://" + cluster.scheduler_address.removeprefix("tcp://"), None)


def pictures(folder: Path, *names: str, others: int = 40) -> Path:
    for number, name in enumerate([*names, *(f"p{number:02d}" for number in range(others))]):
        write_picture(folder / f"{name}.png", 500 + number)
    return folder


def check_all_once(scores: Path, count: int) -> None:
    """So many images have one row each, with a score."""
    assert Counter(counted(scores).values()) == {1: count}
    assert {row["status"] for row in rows_of(scores)} == {"ok"}


def test_rows_and_maps_are_those_of_one_process(place: Path, engine: Engine, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", pictures=20)
    score_folder(place / "run", images, tmp_path / "local.csv", maps=tmp_path / "local", device="cpu")
    outcome = score_folder(place / "run", images, tmp_path / "dask.csv", maps=tmp_path / "dask", device="cpu", engine=engine)
    assert same_rows(tmp_path / "dask.csv", tmp_path / "local.csv")
    lists = [{line["id"]: line for line in read_lines(tmp_path / name)} for name in ("local", "dask")]
    assert lists[0] == lists[1]
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).glob("*_map.*")} for name in ("local", "dask")]
    assert len(files[0]) == 22
    assert files[0] == files[1]
    assert (outcome.scored, outcome.failed) == (22, 1)
    assert len({pid for pid, _ in readings(tmp_path)}) == 2  # both have worked


def test_a_file_that_kills_its_process_twice_is_a_row(place: Path, engine: Engine, tmp_path: Path) -> None:
    images, out = pictures(tmp_path / "images", "poison", others=20), tmp_path / "scores.csv"
    outcome = score_folder(place / "run", images, out, device="cpu", engine=engine)
    bad = {row["id"]: row for row in rows_of(out)}.pop("poison.png")
    assert (bad["status"], bad["issues"]) == ("error", "worker_died")
    assert [name for _, name in readings(tmp_path)].count("poison.png") == 2
    assert Counter(counted(out).values()) == {1: 21}
    assert (outcome.scored, outcome.failed) == (20, 1)


def test_what_a_killed_worker_had_is_done_by_others(place: Path, engine: Engine, tmp_path: Path) -> None:
    images, out = pictures(tmp_path / "images", "held"), tmp_path / "scores.csv"
    (tmp_path / "hold").touch()

    def kills() -> None:
        wait_until(lambda: "held.png" in [name for _, name in readings(tmp_path)], "a worker at the held image")
        os.kill(next(pid for pid, name in readings(tmp_path) if name == "held.png"), getattr(signal, "SIGKILL", signal.SIGTERM))
        (tmp_path / "hold").unlink()

    killer = threading.Thread(target=kills)
    killer.start()
    score_folder(place / "run", images, out, device="cpu", engine=engine)
    killer.join()
    check_all_once(out, 41)
    assert len({pid for pid, name in readings(tmp_path) if name == "held.png"}) == 2


def test_a_worker_that_comes_late_helps(place: Path, engine: Engine, cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    """The first two are held up by images of all that they have, so that what comes then is done by the third."""
    images, out = pictures(tmp_path / "images", *(f"held{number:02d}" for number in range(16))), tmp_path / "scores.csv"
    (tmp_path / "hold").touch()
    there: set[str] = set(client.nthreads())

    def helps() -> None:
        wait_until(lambda: len({pid for pid, name in readings(tmp_path) if name.startswith("held")}) == 2, "both workers held up")
        cluster.scale(3)
        wait_until(lambda: len({pid for pid, _ in readings(tmp_path)}) == 3, "a third worker at work")
        (tmp_path / "hold").unlink()

    helper = threading.Thread(target=helps)
    helper.start()
    try:
        score_folder(place / "run", images, out, device="cpu", engine=engine)
    finally:
        helper.join()
        late = set(client.nthreads()) - there
        client.retire_workers(list(late))
        cluster.scale(2)
    check_all_once(out, 56)


def test_a_driver_that_is_killed_is_continued(place: Path, engine: Engine, tmp_path: Path) -> None:
    images, out = pictures(tmp_path / "images", "z_last", "zz_last"), tmp_path / "scores.csv"
    for name in ("held1", "held2"):  # which come first in some unit and stop it, while others go on
        write_picture(images / f"{name}.png", 900)
    (tmp_path / "hold").touch()
    command = [
        "score",
        place / "run",
        images,
        "--out",
        out,
        "--maps",
        tmp_path / "maps",
        "--device",
        "cpu",
        "--engine",
        f"dask://{engine.address}",
    ]
    driver = subprocess.Popen([sys.executable, "-m", "medood", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: {"held1.png", "held2.png"} & {name for _, name in readings(tmp_path)}, "a worker at a held image")
    driver.kill()
    driver.wait()
    before = {row["id"] for row in rows_of(out)} if out.exists() else set()
    assert len(before) < 44
    (tmp_path / "hold").unlink()
    score_folder(place / "run", images, out, maps=tmp_path / "maps", device="cpu", engine=engine, resume=True)
    check_all_once(out, 44)
    assert len(read_lines(tmp_path / "maps")) == 44
    assert not (tmp_path / ".scores.csv.parts").exists()
    assert before <= {row["id"] for row in rows_of(out)}


def test_one_command_starts_processes_and_ends_them(place: Path, tmp_path: Path) -> None:
    """`--engine dask`, as on the command line."""
    images, out = write_images(tmp_path / "images", pictures=10), tmp_path / "scores.csv"
    command = ["score", place / "run", images, "--out", out, "--device", "cpu", "--engine", "dask", "--workers", "1"]
    done = subprocess.run([sys.executable, "-m", "medood", *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr  # for one image is cut short
    assert "1 files or series could not be scored" in done.stderr
    assert "distributed" not in done.stderr
    score_folder(place / "run", images, tmp_path / "local.csv", device="cpu")
    assert same_rows(out, tmp_path / "local.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"images", "scores.csv", "scores.json", "local.csv", "local.json"}


def seen_gpus() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def test_each_process_sees_one_gpu_and_only_we_can_talk_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    monkeypatch.setattr(dask, "_CONNECT", 1.0)
    with dask_cluster(Engine("own"), gpus=2) as own:
        members: set[str] = set()
        wait_until(lambda: len(members.update(own.members()) or members) == 2, "two workers")
        assert {address.partition(":")[0] for address in members} == {"tls"}
        for number, address in enumerate(members):
            own.give(number, address, seen_gpus)
        answers = []
        wait_until(lambda: len(answers.extend(own.answers(1.0)) or answers) == 2, "two answers")
        assert {answer.result for answer in answers} == {"3", "5"}
        with pytest.raises(MedoodError, match="No Dask scheduler answers"), dask_cluster(engine_of(_address_of(own), None)):
            pass


def _address_of(own: DaskCluster) -> str:
    return "dask://" + own._client.scheduler.address.partition("://")[2]


def test_a_device_without_a_name_is_counted_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus(3) == ["0", "1", "2"]
    assert visible_gpus(0) == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(12), raising=False)
    assert crew_size(None, 4) == (4, 3)
    assert crew_size(None, 0) == (8, 1)
    assert crew_size(2, 4) == (2, 6)
    assert crew_size(24, 0) == (24, 1)


def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(dask, "_CONNECT", 0.5)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        engine = engine_of(f"dask://127.0.0.1:{nobody.getsockname()[1]}", None)
        images = pictures(tmp_path / "images", others=2)
        with pytest.raises(MedoodError, match=r"No Dask scheduler answers at 127\.0\.0\.1:\d+ within"):
            score_folder(place / "run", images, tmp_path / "scores.csv", device="cpu", engine=engine)
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


def test_a_scheduler_that_is_lost_is_one_sentence(cluster: LocalCluster) -> None:
    client = Client(cluster, set_as_default=False)
    lost = DaskCluster(client)
    assert lost.members()
    client.close()
    for call in (lost.members, lambda: lost.give(0, "tcp://x:1", seen_gpus)):
        with pytest.raises(MedoodError, match=r"does not answer any more.*--resume"):
            call()


def test_the_workers_of_a_cluster_are_counted_aloud(place: Path, engine: Engine, tmp_path: Path) -> None:
    console = Quiet()
    images = pictures(tmp_path / "images", others=4)
    score_folder(place / "run", images, tmp_path / "scores.csv", device="cpu", engine=engine, console=console)
    assert "Scoring with 2 workers." in console.said
