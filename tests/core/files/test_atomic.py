"""Files are whole or not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medood.core.errors import MedoodError
from medood.core.files.atomic import atomic_file, atomic_folder, no_traces, sha256, write_json
from medood.core.files.lock import alone


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_text("before")

    def write_half() -> None:
        with atomic_file(path) as part:
            assert part.name.endswith(".nii.gz")
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_with_everything_in_it(tmp_path: Path) -> None:
    place = tmp_path / "new" / "folder"
    with atomic_folder(place) as part:
        (part / "x").write_text("1")
        assert not place.exists()
    assert [p.name for p in place.iterdir()] == ["x"]
    assert [p.name for p in place.parent.iterdir()] == ["folder"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match="Free some space"), atomic_file(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_json_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_checksum_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files as Unix does")
def test_tensors_that_do_not_fit_on_the_disk_are_one_sentence(tmp_path: Path) -> None:
    script = f"""
import resource, signal, torch
from pathlib import Path
from medood.core.errors import MedoodError
from medood.core.files.atomic import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_tensors(Path({str(tmp_path)!r}) / "small", {{"a": torch.ones(3)}})
try:
    write_tensors(Path({str(tmp_path)!r}) / "large", {{"a": torch.zeros(100_000)}})
except MedoodError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "large: the disk may be full. Free some space" in said
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def failing(paths: list[Path], make: Path, *, keep: bool = False) -> None:
    """Makes a file in a block that then fails."""
    with no_traces(*paths) as keep_traces:
        make.parent.mkdir(parents=True, exist_ok=True)
        make.write_text("half")
        if keep:
            keep_traces()
        raise KeyboardInterrupt


def test_what_could_not_begin_leaves_no_traces(tmp_path: Path) -> None:
    old, new, never = tmp_path / "old.csv", tmp_path / "a" / "b" / "new.csv", tmp_path / "c" / "never.csv"
    old.write_text("kept")
    with pytest.raises(KeyboardInterrupt):
        failing([old, new, never], new)
    assert [path.name for path in tmp_path.rglob("*")] == ["old.csv"]
    with pytest.raises(KeyboardInterrupt):
        failing([old, new], new, keep=True)
    with pytest.raises(KeyboardInterrupt):
        failing([old, new, new.with_name("x")], new.with_name("x"))
    assert {path.name for path in tmp_path.rglob("*")} == {"old.csv", "a", "b", "new.csv"}


def test_a_lock_leaves_no_file(tmp_path: Path) -> None:
    lock = tmp_path / ".x.lock"
    with alone(lock, tmp_path / "x"):
        with pytest.raises(MedoodError, match="right now"), alone(lock, tmp_path / "x"):
            pass
        assert lock.exists()  # who is refused does not take it away
        with pytest.raises(MedoodError, match="right now"), alone(lock, tmp_path / "x"):
            pass
    assert list(tmp_path.iterdir()) == []
