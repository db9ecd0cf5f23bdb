"""Folders with nothing to read in them, and what is said instead."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from medood.core.errors import MedoodError
from medood.core.volume import Index, Source
from medood.data.found import check_found, is_harmless
from medood.sources.dicom.dicom import Dicom
from medood.sources.folder import Folder
from medood.sources.image import Image
from medood.sources.nifti import Nifti


def _archive(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.dcm", b"x")
    elif ".tar" in path.name or path.suffix == ".tgz":
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
            archive.addfile(tarfile.TarInfo("a.dcm"), io.BytesIO())
    else:
        beginning = {".gz": gzip.compress(b"DICM"), ".zst": b"\x28\xb5\x2f\xfd", ".7z": b"7z\xbc\xaf\x27\x1c"}
        beginning |= {".xz": b"\xfd7zXZ\0", ".bz2": b"BZh9"}
        path.write_bytes(beginning[path.suffix] + bytes(40))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a.zip", "archive"),
        ("a.tar", "archive"),
        ("a.tar.gz", "archive"),
        ("a.tgz", "archive"),
        ("a.7z", "archive"),
        ("a.dcm.gz", "compressed"),
        ("a.nii.zst", "compressed"),
        ("a.xz", "compressed"),
        ("a.bz2", "compressed"),
    ],
)
def test_a_folder_of_packed_files_alone_says_so(tmp_path: Path, name: str, code: str) -> None:
    _archive(tmp_path / name)
    (tmp_path / "notes.txt").write_text("notes")
    index = Folder(tmp_path).index()
    assert {p.path: p.code for p in index.problems} == {name: code, "notes.txt": "not_an_image"}
    words = {"archive": "1 archives", "compressed": "1 compressed files"}[code]
    with pytest.raises(MedoodError, match=f"found no image.*{words}, which have to be unpacked first, 1 files of other kinds"):
        check_found(index)


def test_what_is_packed_beside_images_is_no_reason_to_stop(tmp_path: Path) -> None:
    """An archive is often what the images came in; a file compressed by itself is an image that nobody looked at."""
    Picture.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    _archive(tmp_path / "all.zip")
    _archive(tmp_path / "b.dcm.gz")
    index = Folder(tmp_path).index()
    check_found(index)
    assert {p.path: is_harmless(p) for p in index.problems} == {"all.zip": True, "b.dcm.gz": False}


def test_an_empty_folder_and_damaged_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match="found no file at all"):
        check_found(Index(tmp_path, ()))
    (tmp_path / "a.png").write_text("broken")
    check_found(Folder(tmp_path).index())


def test_a_link_to_nothing_is_nothing_that_anybody_misses(tmp_path: Path) -> None:
    try:
        (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("this system does not let this user make links")
    (problem,) = Folder(tmp_path).index().problems
    assert problem.code == "dead_link"
    assert is_harmless(problem)


@pytest.mark.parametrize("kind", [Folder, Image, Nifti, Dicom])
def test_a_folder_that_may_not_be_listed_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Source]) -> None:
    """Nobody knows what images are in it. The user who runs the tests may be one whom nothing is closed to, so it is only pretended."""
    listed = os.scandir

    def scandir(folder: Any) -> Any:
        if str(folder) == str(tmp_path / "closed"):
            raise PermissionError
        return listed(folder)

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    (problem,) = kind(tmp_path).index().problems
    assert (problem.path, problem.code, problem.message) == ("closed", "unreadable", "This folder cannot be opened; check its permissions.")
    assert not is_harmless(problem)
