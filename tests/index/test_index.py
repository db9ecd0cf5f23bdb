"""An index finds what the sources find, reads only what is new, and survives whatever ends it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import SECRET
from mixed_archive import mixed_archive, picture, series, volume

from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.core.volume import Index, Source
from medood.index import archive, looking
from medood.index.archive import update
from medood.index.finding import default_file, found_by
from medood.sources.dicom import headers
from medood.sources.dicom.dicom import Dicom
from medood.sources.folder import Folder
from medood.sources.image import Image
from medood.sources.nifti import Nifti

pytest.importorskip("duckdb", reason="an index needs DuckDB")
QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDOOD_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return mixed_archive(tmp_path / "archive")


def stored(source: Source, root: Path, file: Path) -> Index:
    with found_by(source, root, file, QUIET) as index:
        return Index(index.root, tuple(index.entries), tuple(index.problems))


def read_by(root: Path, file: Path) -> int:
    return update(root, file, workers=1, console=QUIET).read


def require_same(root: Path, file: Path) -> Index:
    plain, kept = Folder(root).index(), stored(Folder(root), root, file)
    assert kept.entries == plain.entries
    assert kept.problems == plain.problems
    return plain


def test_it_holds_what_the_folder_holds(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.duckdb"
    report = update(root, file, workers=1, console=QUIET)
    plain = require_same(root, file)
    assert (report.entries, report.problems) == (len(plain.entries), len(plain.problems))
    together = [{path.name for path in entry.files} for entry in plain.entries]
    assert any(names >= {"1-0.dcm", "slice"} for names in together), "a series in several folders is one"
    codes = {problem.code for problem in plain.problems}
    assert codes >= {
        "duplicate_sop_instance",
        "nonuniform_spacing",
        "mask_file",
        "truncated",
        "dead_link",
        "archive",
        "not_an_image",
        "empty",
    }
    assert any("series_uid_reused:2" in entry.issues for entry in plain.entries)
    assert any("multiple_volumes_in_series:2" in entry.issues for entry in plain.entries)


def test_rows_are_counted_and_taken_one_by_one(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.duckdb"
    read_by(root, file)
    plain = Folder(root).index()
    with found_by(Folder(root), root, file, QUIET) as index:
        assert len(index.entries) == len(plain.entries)
        assert (index.entries[0], index.entries[-1], index.entries[1:3]) == (plain.entries[0], plain.entries[-1], plain.entries[1:3])
        with pytest.raises(IndexError):
            index.entries[len(plain.entries)]


def test_processes_side_by_side_read_the_same(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_FEW", 1)
    monkeypatch.setattr(looking, "SHARD", 5)
    update(root, tmp_path / "index.duckdb", workers=2, console=QUIET)
    require_same(root, tmp_path / "index.duckdb")


Change = Callable[[Path], object]
CHANGES: dict[str, tuple[Change, int]] = {
    "a picture more": (lambda root: picture(root / "photos" / "skin9.png"), 1),
    "a mask more": (lambda root: picture(root / "photos" / "skin0_mask.png"), 1),
    "the image of a mask goes": (lambda root: (root / "photos" / "skin1.png").unlink(), 0),
    "the image of a lonely mask comes": (lambda root: picture(root / "lonely.png"), 1),
    "a volume beside a map": (lambda root: volume(root / "sub-03" / "flair.nii.gz", np.random.default_rng(1).normal(size=(4, 4, 4))), 1),
    "the volume beside a map goes": (lambda root: shutil.rmtree(root / "sub-01"), 0),
    "a slice goes": (lambda root: (root / "two" / "2-1.dcm").unlink(), 0),
    "a copy goes": (lambda root: (root / "again.dcm").unlink(), 0),
    "the reused series UID is not any more": (lambda root: shutil.rmtree(root / "reused"), 0),
    "a series UID is reused": (lambda root: series(root / "three", 3, patient="C", study=99), 4),
    "a series more, first of all": (lambda root: series(root / "a", 20), 4),
    "all DICOM but hidden goes": (
        lambda root: [path.unlink() for path in (*root.rglob("*.dcm"), root / "z" / "elsewhere" / "slice") if ".hidden" not in str(path)],
        0,
    ),
    "a file is written anew": (lambda root: picture(root / "photos" / "empty.jpg"), 1),
    "nothing is left": (lambda root: [shutil.rmtree(root), root.mkdir()], 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_is_new_is_read(root: Path, tmp_path: Path, change: str) -> None:
    file = tmp_path / "index.duckdb"
    read_by(root, file)
    assert read_by(root, file) == 0
    alter, new = CHANGES[change]
    alter(root)
    assert read_by(root, file) == new
    if any(root.iterdir()):
        require_same(root, file)
    assert read_by(root, file) == 0


def test_many_changes_one_after_the_other(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.duckdb"
    read_by(root, file)
    order = np.random.default_rng(0).permutation([name for name in CHANGES if name != "nothing is left"])
    for name in order:
        CHANGES[name][0](root)
        read_by(root, file)
        require_same(root, file)


def test_what_looks_the_same_is_not_opened_again(root: Path, tmp_path: Path) -> None:
    file, changed = tmp_path / "index.duckdb", root / "two" / "2-1.dcm"
    read_by(root, file)
    before, times = stored(Folder(root), root, file), changed.stat()
    changed.write_bytes(b"x" * times.st_size)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read_by(root, file) == 0
    assert stored(Folder(root), root, file) == before


@pytest.mark.parametrize(
    "source", [Dicom, Image, Nifti, lambda root: Folder(root, csv="table.csv"), lambda root: Dicom(root, on_bad_series="nearest")]
)
def test_other_sources_ask_it_for_headers(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Callable[[Path], Source]
) -> None:
    (root / "table.csv").write_text("path,group,label,part\ntwo,a,0,train\nphotos/skin0.png,b,1,test\nsub-01/flair.nii.gz,c,0,val\n")
    file, plain = tmp_path / "index.duckdb", source(root).index()
    read_by(root, file)
    opened = []
    read = headers._read_header
    monkeypatch.setattr(headers, "_read_header", lambda path, name: opened.append(name) or read(path, name))
    assert stored(source(root), root, file) == plain
    kinds = {Path(name).suffix for name in opened}
    assert ".dcm" not in kinds, "headers that are known"


def test_a_changed_file_is_read_whatever_the_index_says(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.duckdb"
    read_by(root, file)
    picture(root / "photos" / "skin0.png")
    (root / "photos" / "skin2.png").write_bytes(b"\x89PNG broken")
    assert stored(Image(root), root, file) == Image(root).index()


def test_nobody_is_named_in_it_and_nobody_else_may_read_it(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "index" / "of.duckdb"
    series(root / "named", 30, patient=SECRET)
    read_by(root, file)
    for path in (*file.parent.iterdir(), tmp_path / "config" / "index.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = path.read_bytes()
        assert not any(word.encode() in content for word in (SECRET, "patient P2", "19700131"))
    with archive.reading(file) as database:
        rows = list(database.rows("select * from files"))
        kept = "".join(map(str, rows)) + "".join(map(str, database.rows("select * from drafts")))
    assert len(rows) > 40
    assert "1.2.826" in kept
    assert SECRET not in kept
    assert '"P2"' not in kept


KILLED = """
import os, sys
from pathlib import Path
from medood.core.console import Console
from medood.index import archive, grouping, looking
root, file, when = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
looking.SHARD, looking._FEW, grouping._PAGE = 8, 10**6, 8
calls = 0
def dying(real):
    def one(*values, **named):
        global calls
        calls += 1
        if calls == when:
            os._exit(9)
        return real(*values, **named)
    return one
archive.rows_of, grouping._add_files, grouping._series = map(dying, (archive.rows_of, grouping._add_files, grouping._series))
archive.update(root, file, workers=1, console=Console(quiet=True))
"""


@pytest.mark.parametrize("when", [1, 4, 9, 14])
def test_a_killed_one_goes_on(root: Path, tmp_path: Path, when: int) -> None:
    file = tmp_path / "index.duckdb"
    died = subprocess.run([sys.executable, "-c", KILLED, root, file, str(when)], check=False)
    assert died.returncode == 9
    with pytest.raises(MedoodError, match="not finished"):
        stored(Folder(root), root, file)
    files = sum(1 for _ in looking.files_in(root))
    assert read_by(root, file) == max(0, files - 8 * (when - 1))
    require_same(root, file)


def test_a_moved_archive_is_taken_on(root: Path, tmp_path: Path) -> None:
    file, moved = tmp_path / "index.duckdb", tmp_path / "moved"
    read_by(root, file)
    root.rename(moved)
    with pytest.raises(MedoodError, match=r"index of .*archive, not of .*moved.*takes it on"):
        stored(Folder(moved), moved, file)
    (moved / "nowhere").unlink()
    assert read_by(moved, file) == 0
    assert f"{moved.name}#1" in {entry.id for entry in require_same(moved, file).entries}, "series at the top are called after the folder"


def test_the_index_of_another_folder_is_refused(root: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "index.duckdb", tmp_path / "other"
    read_by(root, file)
    picture(other / "a.png")
    with pytest.raises(MedoodError, match=r"only 0 are below .*other"):
        read_by(other, file)
    require_same(root, file)


def test_an_old_index_is_told_of(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "index.duckdb"
    read_by(root, file)
    shutil.rmtree(root / "two")
    with found_by(Folder(root), root, file):
        assert "gone or changed" in capsys.readouterr().err
    shutil.rmtree(root)
    root.mkdir()
    with pytest.raises(MedoodError, match="None of"):
        stored(Folder(root), root, file)


def test_files_that_are_no_index(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    file = tmp_path / "index.duckdb"
    with pytest.raises(MedoodError, match=r"There is no index.*medood index FOLDER --to"):
        stored(Folder(root), root, file)
    read_by(root, file)
    whole = file.read_bytes()
    for content in (b"", b"some text", whole[:5000], whole[: len(whole) // 2]):
        (tmp_path / "cut.duckdb").write_bytes(content)
        for use in (lambda: stored(Folder(root), root, tmp_path / "cut.duckdb"), lambda: read_by(root, tmp_path / "cut.duckdb")):
            with pytest.raises(MedoodError, match="not an index that medood made"):
                use()
    with duckdb.connect(str(tmp_path / "foreign.duckdb")) as connection:
        connection.execute("create table meta (key varchar, value varchar)")
    with pytest.raises(MedoodError, match="not an index that medood made"):
        stored(Folder(root), root, tmp_path / "foreign.duckdb")
    with archive.writing(file, str(root)) as database:
        database["version"] = "0.0.1"
    for use in (lambda: stored(Folder(root), root, file), lambda: read_by(root, file)):
        with pytest.raises(MedoodError, match=r"made by medood 0\.0\.1.*--overwrite"):
            use()
    monkeypatch.setattr("medood.index.database.find_spec", lambda name: None)
    with pytest.raises(MedoodError, match=r"pip install medood\[index\]"):
        read_by(root, tmp_path / "other.duckdb")


def test_tokens_of_another_user_are_not_mixed_with_ones_own(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "index.duckdb"
    read_by(root, file)
    monkeypatch.setenv("MEDOOD_CONFIG", str(tmp_path / "another"))
    require_same(root, file)
    with pytest.raises(MedoodError, match="another user"):
        read_by(root, file)


def test_it_must_not_lie_among_the_images(root: Path) -> None:
    with pytest.raises(MedoodError, match="in the folder of the images"):
        read_by(root, root / "index.duckdb")


def test_one_writer_at_a_time(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.duckdb"
    read_by(root, file)
    hold = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(MedoodError, match="another medood is writing"):
            read_by(root, file)
        other.communicate(b"")


def test_it_is_found_again_by_the_path_of_the_folder(root: Path) -> None:
    assert default_file(str(root)) == default_file(str(root))
    assert default_file(str(root)) != default_file(f"{root}2")
