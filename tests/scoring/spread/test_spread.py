"""Scoring by workers, without processes: the rows and maps are those of one process, whatever happens to workers and part files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretend_cluster import Death, PretendCluster
from spread_trials import Quiet, counted, rows_of, same_rows, small_run, write_images, write_picture

from medood.core.device import device_of_seat
from medood.core.errors import MedoodError
from medood.core.running.installed import installed
from medood.core.volume import Entry
from medood.data import opening
from medood.engines import crew
from medood.engines.engine import Engine
from medood.engines.opened import workers_of
from medood.export.map_list import read_lines
from medood.scoring.spread import driver, opened, worker
from medood.scoring.spread.parts import Part, Parts, Scores, read_part, write_part
from medood.scoring.spread.units import Unit, images_in_unit, units_of
from medood.scoring.spread.worker import Plan, examine
from medood.sources.folder import Folder
from medood.tasks.scoring import score as task
from medood.tasks.scoring.score import score_folder

CLUSTER = Engine("cluster", "pretended:1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, images, and what one process says of them."""
    folder = tmp_path_factory.mktemp("spread")
    small_run(folder)
    write_images(folder / "images")
    score_folder(folder / "run", folder / "images", folder / "scores.csv", maps=folder / "maps", maps_with=["plain"], device="cpu")
    return folder


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> PretendCluster:
    """Two workers that score_folder finds when it is told to use CLUSTER."""
    pretended = PretendCluster(2)

    @contextmanager
    def given(engine: Engine, device: str) -> Iterator[PretendCluster]:
        yield pretended

    monkeypatch.setattr(task, "workers_of", lambda engine, device: (given if engine == CLUSTER else workers_of)(engine, device))
    monkeypatch.setattr(crew, "_LOOK", 0.0)
    monkeypatch.setattr(worker, "_loaded", [])
    return pretended


def on_reading(monkeypatch: pytest.MonkeyPatch, happens: Callable[[Entry], None]) -> None:
    whole = Folder.read

    def read(source: Folder, entry: Entry) -> Any:
        happens(entry)
        return whole(source, entry)

    monkeypatch.setattr(Folder, "read", read)


def spread(place: Path, out: Path, **options: Any) -> Any:
    return score_folder(place / "run", place / "images", out, device="cpu", engine=CLUSTER, **options)


def test_rows_and_maps_are_those_of_one_process(place: Path, cluster: PretendCluster, tmp_path: Path) -> None:
    outcome = spread(place, tmp_path / "scores.csv", maps=tmp_path / "maps", maps_with=["plain"])
    assert same_rows(tmp_path / "scores.csv", place / "scores.csv")
    by_id = [{line["id"]: line for line in read_lines(folder / "maps")} for folder in (place, tmp_path)]
    assert by_id[0] == by_id[1]
    files = [{path.name: path.read_bytes() for path in (folder / "maps").glob("*_*")} for folder in (place, tmp_path)]
    assert len(files[0]) == 84  # of 40 pictures and 2 volumes, each with `plain`
    assert files[0] == files[1]
    facts = [json.loads((folder / "scores.json").read_text(encoding="utf-8")) for folder in (place, tmp_path)]
    assert all(fact.pop("complete") and fact.pop("seconds") and fact.pop("maps") for fact in facts)
    assert facts[0] == facts[1]
    assert (outcome.scored, outcome.failed, outcome.rows) == (42, 1, len(rows_of(tmp_path / "scores.csv")))
    assert {path.name for path in tmp_path.iterdir()} == {"scores.csv", "scores.json", "maps"}


def test_what_workers_say_is_added_up(place: Path, cluster: PretendCluster, tmp_path: Path) -> None:
    ours = spread(place, tmp_path / "scores.csv")
    alone = score_folder(place / "run", place / "images", tmp_path / "alone.csv", device="cpu")
    for name in ("scored", "failed", "rows", "skipped", "unlike", "near_copies"):
        assert getattr(ours, name) == getattr(alone, name)
    assert all(seconds > 0 for seconds in ours.seconds.values())


def test_a_scoring_that_was_stopped_goes_on(place: Path, cluster: PretendCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was handed over before the stop is not scored again, neither what is in the table nor what is in a part file alone."""
    merge, out = driver.Spread._merge, tmp_path / "scores.csv"
    merged: list[Unit] = []

    def stops(self: driver.Spread, unit: Unit) -> None:
        if len(merged) == 3:
            raise KeyboardInterrupt
        merged.append(unit)
        merge(self, unit)

    with monkeypatch.context() as patch:
        patch.setattr(driver.Spread, "_merge", stops)
        with pytest.raises(KeyboardInterrupt):
            spread(place, out, maps=tmp_path / "maps")
    left = list((tmp_path / ".scores.csv.parts").glob("*/*.json"))
    assert left
    waiting = {scores.id for path in left for scores in read_part(path).scores}
    before = {row["id"] for row in rows_of(out)} | waiting
    cut, stray = left[0].with_name("900000.json"), left[0].with_name("900001.json")
    cut.write_bytes(left[0].read_bytes()[:-40])
    shutil.copy(left[0], stray)  # as if a worker had finished it a second time
    read: list[str] = []
    on_reading(monkeypatch, lambda entry: read.append(entry.id))
    spread(place, out, maps=tmp_path / "maps", resume=True)
    assert not before & set(read)
    assert len(read) == len(set(read))
    assert same_rows(out, place / "scores.csv")
    assert {line["id"] for line in read_lines(tmp_path / "maps")} == {line["id"] for line in read_lines(place / "maps")}
    assert not (tmp_path / ".scores.csv.parts").exists()


def test_one_engine_goes_on_where_another_stopped(place: Path, cluster: PretendCluster, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    spread(place, out)
    lines = out.read_text(encoding="utf-8").splitlines(keepends=True)
    out.write_text("".join(lines[:20]), encoding="utf-8")
    score_folder(place / "run", place / "images", out, device="cpu", resume=True)
    assert same_rows(out, place / "scores.csv")
    out.write_text("".join(lines[:20]), encoding="utf-8")
    spread(place, out, resume=True)
    assert same_rows(out, place / "scores.csv")


def test_parts_of_replaced_scores_are_forgotten(place: Path, cluster: PretendCluster, tmp_path: Path) -> None:
    old = tmp_path / ".scores.csv.parts" / "old"
    old.mkdir(parents=True)
    write_part(old / "000000.json", Part([Scores("p00.png", [{"id": "p00.png", "level": "image", "score": 7.0}])]))
    spread(place, tmp_path / "scores.csv", overwrite=True)
    assert same_rows(tmp_path / "scores.csv", place / "scores.csv")


def test_a_file_that_kills_is_a_row_after_two_deaths(
    place: Path, cluster: PretendCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kills(entry: Entry) -> None:
        read.append(entry.id)
        if entry.id == "p07.png":
            raise Death

    read: list[str] = []
    on_reading(monkeypatch, kills)
    outcome = spread(place, tmp_path / "scores.csv", maps=tmp_path / "maps")
    theirs, ours = ({row["id"] + row["slice"]: row for row in rows_of(folder / "scores.csv")} for folder in (place, tmp_path))
    bad = ours.pop("p07.png")
    assert (bad["level"], bad["status"], bad["issues"], bad["score"]) == ("file", "error", "worker_died", "")
    assert "2 processes died" in bad["reason"]
    assert read.count("p07.png") == 2
    del theirs["p07.png"]
    assert ours == theirs
    assert set(counted(tmp_path / "scores.csv").values()) == {1}
    assert (outcome.failed, outcome.scored) == (2, 41)


def test_a_part_file_that_is_cut_short_is_made_again(
    place: Path, cluster: PretendCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: set[Path] = set()

    def cuts(path: Path, part: Part) -> None:
        write_part(path, part)
        if path not in cut:
            cut.add(path)
            path.write_bytes(path.read_bytes()[:100])

    monkeypatch.setattr(worker, "write_part", cuts)
    spread(place, tmp_path / "scores.csv")
    assert len(cut) > 5
    assert same_rows(tmp_path / "scores.csv", place / "scores.csv")
    monkeypatch.setattr(worker, "write_part", lambda path, part: path.write_text("{", encoding="utf-8"))
    with pytest.raises(MedoodError, match=r"damaged again and again.*--resume"):
        spread(place, tmp_path / "other.csv")


def test_unfit_workers_are_found_before_anything_is_written(place: Path, cluster: PretendCluster, tmp_path: Path, monkeypatch) -> None:
    spread(place, tmp_path / "scores.csv", maps=tmp_path / "maps")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(opened, "installed", lambda: "0.0.0 (00000000)")
    with pytest.raises(MedoodError, match=r"cannot take part: it has medood .*, not 0\.0\.0 \(00000000\): install the same"):
        spread(place, tmp_path / "scores.csv", maps=tmp_path / "maps", overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(MedoodError, match="cannot take part"):
        spread(place, tmp_path / "new" / "scores.csv")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def plan(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(worker, "_loaded", [])
    parts = Parts(tmp_path / "scores.csv")
    parts.make()
    image = place / "images" / "p01.png"
    checksum = task.sha256(place / "run" / "manifest.json")
    sample = [(image, image.stat().st_size)]
    return Plan(installed(), parts.folder, parts.token, place / "run", checksum, place / "images", "folder", {}, sample, device="cpu")


def test_a_worker_says_what_it_lacks(plan: Plan, place: Path, tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "p.png", 5)
    other = tmp_path / "run"
    shutil.copytree(plan.run, other)
    (other / "weights.safetensors").write_bytes(b"damaged")
    lacks = {
        "it has medood": {"medood": "0.1 (0)"},
        f"it does not see {tmp_path}, the folder of --out": {"parts": tmp_path / ".scores.csv.parts" / "elsewhere"},
        "the folder of --out": {"token": "that of another machine"},
        f"it has no run at {tmp_path / 'none'}": {"run": tmp_path / "none"},
        f"it has another run at {plan.run}": {"run_checksum": "0" * 64},
        f"it does not see the images below {plan.root}": {"samples": [*plan.samples, (tmp_path / "gone.png", 100)]},
        "see the images": {"samples": [(picture, picture.stat().st_size + 1)]},
        "was altered after training": {"run": other},
        "The device 'cuda:99' cannot be used": {"device": "cuda:99"},
    }
    for words, changes in lacks.items():
        assert words in (examine(replace(plan, **changes), 0) or "")
    assert worker._loaded == []
    assert examine(plan, 0) is None


def test_a_run_is_loaded_once_for_a_scoring(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    whole = opening.open_source
    monkeypatch.setattr(opening, "open_source", lambda name, *place, **more: opened.append(name) or whole(name, *place, **more))
    entries = Folder(plan.root).index().entries
    assert examine(plan, 0) is None
    for number in range(3):
        worker.score_unit(plan, Unit(str(number), entries[number : number + 1]), 0)
    assert opened == ["folder"]
    again = Parts(plan.parts.parent.with_name("other.csv"))
    again.make()
    assert examine(replace(plan, parts=again.folder, token=again.token), 0) is None
    assert opened == ["folder", "folder"]


def test_a_worker_whose_driver_has_gone_writes_nothing(plan: Plan) -> None:
    entries = Folder(plan.root).index().entries[:2]
    shutil.rmtree(plan.parts.parent)
    with pytest.raises(MedoodError, match="has ended"):
        worker.score_unit(plan, Unit("0", entries), 0)
    assert not plan.parts.parent.exists()


def test_gpus_are_taken_by_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medood.core.device.pick_device", lambda name: torch.device("cuda" if name == "auto" else name))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [device_of_seat("auto", seat) for seat in range(5)] == [torch.device("cuda", number) for number in (0, 1, 2, 3, 0)]
    assert device_of_seat("cuda", 2) == torch.device("cuda", 2)
    assert device_of_seat("cuda:1", 2) == torch.device("cuda", 1)
    assert device_of_seat("cpu", 2) == torch.device("cpu")


def entry(number: int, slices: int) -> Entry:
    return Entry(f"e{number}", (Path(f"{number}.png"),), "g", slices)


def test_units_hold_a_series_or_single_files_in_order() -> None:
    slices = [1, 1, 1, 40, 1, 3, 3, 1, 1]
    entries = [entry(number, count) for number, count in enumerate(slices)]
    units = list(units_of(entries, 4, str.upper))
    assert [[each.slices for each in unit.entries] for unit in units] == [[1, 1, 1, 40], [1, 3], [3, 1], [1]]
    assert [each for unit in units for each in unit.entries] == entries
    assert [name for unit in units for name in unit.map_names] == [f"E{number}" for number in range(9)]
    assert len({unit.name for unit in units}) == 4
    alone = units[0].split()
    assert [each.entries for each in alone] == [(each,) for each in entries[:4]]
    assert [each.map_names for each in alone] == [("E0",), ("E1",), ("E2",), ("E3",)]
    assert {each.deaths for each in alone} == {1}
    assert next(units_of(entries, 4, None)).split()[0].map_names == ()


def test_a_unit_names_no_files_where_a_log_quotes_it() -> None:
    unit = Unit("u", (Entry("Doe^Jane", (Path("Doe^Jane.png"),), "Doe^Jane"),), ("Doe^Jane",))
    assert "Doe" not in repr(unit)


def test_units_are_whole_batches_and_fewer_images_where_there_are_few() -> None:
    assert images_in_unit(1_000_000, 2, 16) == 64
    assert images_in_unit(1_000_000, 2, 48) == 48
    assert images_in_unit(1_000_000, 2, 100) == 100
    assert images_in_unit(320, 2, 4) == 20
    assert images_in_unit(10, 2, 4) == 4


def test_numbers_survive_a_part_file_to_the_last_bit(tmp_path: Path) -> None:
    values = {
        "score": 0.1 + 0.2,
        "p_value": torch.tensor(1 / 3, dtype=torch.float64).numpy()[()],
        "slice": 3,
        "reason": 'a "b";\n\udcff',
        "x": "",
    }
    part = Part([Scores("a", [values], {"id": "a"})], {"scored": 1}, {"decode": 0.5})
    write_part(tmp_path / "0.json", part)
    assert read_part(tmp_path / "0.json") == part
    content = (tmp_path / "0.json").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "cut.json").write_bytes(content[:length])
        assert read_part(tmp_path / "cut.json") is None
    assert read_part(tmp_path / "none.json") is None


def test_dicom_objects_are_for_one_process(place: Path, tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match="--dicom needs --engine local"):
        spread(place, tmp_path / "scores.csv", objects=tmp_path / "objects")


def test_a_quiet_console_hears_of_the_workers(place: Path, cluster: PretendCluster, tmp_path: Path) -> None:
    console = Quiet()
    spread(place, tmp_path / "scores.csv", console=console)
    assert "Scoring with 2 workers." in console.said
