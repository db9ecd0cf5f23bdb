"""One medood at a time, and no litter."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from medood.core.errors import MedoodError
from medood.core.files.lock import alone


def count_up(folder: str, times: int) -> None:
    """Adds 1 to a number in a file so often, as everybody else does; without mutual exclusion some additions get lost."""
    number = Path(folder) / "number"
    done = 0
    while done < times:
        try:
            with alone(Path(folder) / ".lock", Path(folder)):
                number.write_text(str(int(number.read_text()) + 1))
                done += 1
        except MedoodError:
            continue


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    with alone(tmp_path / "a" / "b" / ".lock", tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_there_or_hold_something_stay(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with alone(tmp_path / "a" / "b" / "c" / ".lock", tmp_path):
        (tmp_path / "a" / "b" / "file").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "file"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_lets_go_too(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), alone(tmp_path / "a" / ".lock", tmp_path / "a"):
        raise error
    assert list(tmp_path.iterdir()) == []
    with alone(tmp_path / "a" / ".lock", tmp_path / "a"):
        pass


def test_a_second_one_is_refused_and_takes_nothing_from_the_first(tmp_path: Path) -> None:
    with alone(tmp_path / "a" / ".lock", tmp_path / "a"):
        for _ in range(2):
            with pytest.raises(MedoodError, match="right now"), alone(tmp_path / "a" / ".lock", tmp_path / "a"):
                pytest.fail("two at a time")
        assert (tmp_path / "a" / ".lock").exists()


def test_a_file_that_a_killed_process_left_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with alone(tmp_path / ".lock", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MedoodError, match=r"Cannot write .*--out"), alone(tmp_path / "file" / "run" / ".lock", tmp_path / "file" / "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_removing_the_file_never_lets_two_in(tmp_path: Path) -> None:
    """Three processes take and remove the lock hundreds of times; a lock on a removed file would lose additions."""
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("spawn")
    crew = [context.Process(target=count_up, args=(str(tmp_path), 100)) for _ in range(3)]
    for process in crew:
        process.start()
    for process in crew:
        process.join(120)
        assert process.exitcode == 0
    assert (tmp_path / "number").read_text() == "300"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]
