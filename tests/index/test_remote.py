"""Images elsewhere: an archive file or an object store gives what a folder would, and little of it is ever here."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mixed_archive import mixed_archive
from PIL import Image as Picture
from typer.testing import CliRunner

from medood.cli import app
from medood.core.console import Console
from medood.core.errors import InputError, MedoodError
from medood.core.volume import Index
from medood.index import remote as remote_module
from medood.index.archive import update_remote
from medood.index.finding import default_file, found_by
from medood.index.remote import Remote
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.sources.cohorts.ixi import IXI
from medood.sources.fetching import bring, is_remote
from medood.sources.folder import Folder

pytest.importorskip("duckdb", reason="an index needs DuckDB")
pytest.importorskip("fsspec", reason="addresses need fsspec")
QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDOOD_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder without what no store has, links and names that are no text; called as the archive that it is put into."""
    root = mixed_archive(tmp_path / "plain" / "mixed.zip")
    (root / "nowhere").unlink()
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png")).unlink()
    return root


@pytest.fixture
def packed(root: Path, tmp_path: Path) -> str:
    with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as file:
        for path in root.rglob("*"):
            file.write(path, path.relative_to(root))
    return f"zip://{tmp_path / 'mixed.zip'}"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of an S3 server of our own, on this computer."""
    pytest.importorskip("moto", reason="moto is not installed: no S3 server to ask")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for key, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    boto3.client("s3").create_bucket(Bucket="hospital")
    yield "s3://hospital"
    server.stop()


def found_in(address: str, root: Path) -> Index:
    """What is found at an address, with files named as if they lay below `root`."""
    remote = Remote(address)
    update_remote(remote, default_file(remote.address), console=QUIET)
    with remote.mirrored(default_file(remote.address)) as images, found_by(Folder(images), images, None, QUIET) as index:
        entries = [replace(entry, files=tuple(root / path.relative_to(images) for path in entry.files)) for entry in index.entries]
        return Index(root, tuple(entries), tuple(index.problems))


def test_an_archive_file_holds_what_the_folder_holds(root: Path, packed: str) -> None:
    assert found_in(packed, root) == Folder(root).index()
    assert update_remote(Remote(packed), default_file(Remote(packed).address), console=QUIET).read == 0


def test_a_bucket_holds_what_the_folder_holds_and_only_new_files_are_fetched(root: Path, store: str) -> None:
    import boto3

    client = boto3.client("s3")
    for path in root.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "hospital", f"mixed.zip/{path.relative_to(root).as_posix()}")
    address = f"{store}/mixed.zip"
    assert found_in(address, root) == Folder(root).index()
    file = default_file(Remote(address).address)
    client.upload_file(str(root / "photos" / "skin0.png"), "hospital", "mixed.zip/photos/new.png")
    client.upload_file(str(root / "photos" / "skin0.png"), "hospital", "mixed.zip/photos/skin2.png")
    client.delete_object(Bucket="hospital", Key="mixed.zip/lonely_mask.png")
    report = update_remote(Remote(address), file, console=QUIET)
    assert (report.read, report.gone) == (2, 1)


def test_files_come_when_they_are_read_and_go_again(root: Path, packed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, file = Remote(packed), default_file(Remote(packed).address)
    update_remote(remote, file, console=QUIET)
    plain = Folder(root)
    largest = max(path.stat().st_size for path in root.rglob("*") if path.is_file())
    monkeypatch.setattr(remote_module, "_ROOM", largest)
    with remote.mirrored(file) as images, found_by(Folder(images), images, None, QUIET) as index:
        assert not any(path.is_file() for path in images.rglob("*"))
        assert remote.root.parent.stat().st_mode & 0o777 == 0o700
        for entry, meant in zip(index.entries, plain.index().entries, strict=True):
            assert np.array_equal(Folder(images).read(entry).image, plain.read(meant).image)
            assert all(path.is_file() for path in entry.files)
            here = [path for path in images.rglob("*") if path.is_file()]
            assert sum(path.stat().st_size for path in here if path not in entry.files) <= largest
        with pytest.raises(InputError, match="cannot be fetched"):
            bring([images / "gone.png"])
    assert not remote.root.exists()


def test_names_that_lead_out_of_an_archive_are_passed_over(tmp_path: Path) -> None:
    Picture.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        for name in ("fine.png", "../../outside.png", "/absolute.png", "deep/../../up.png"):
            file.write(tmp_path / "a.png", name)
    found = found_in(f"zip://{tmp_path / 'evil.zip'}", tmp_path)
    assert {entry.id for entry in found.entries} <= {"fine.png", "absolute.png"}
    assert not list(tmp_path.rglob("outside.png"))
    assert not list(tmp_path.rglob("up.png"))


def test_one_process_at_a_time_and_no_cohorts(packed: str) -> None:
    remote, file = Remote(packed), default_file(Remote(packed).address)
    update_remote(remote, file, console=QUIET)
    with remote.mirrored(file) as images:
        with pytest.raises(MedoodError, match="wait until it is done"), Remote(packed).alone():
            pass
        for source in (IXI(images), Folder(images, csv="table.csv")):
            with pytest.raises(MedoodError, match="on this computer only"), found_by(source, images, None):
                pass


@pytest.fixture
def both(tmp_path: Path) -> tuple[str, str]:
    """A folder of pictures, and the address of the same in an archive file."""
    rng, pictures = np.random.default_rng(0), tmp_path / "plain" / "set.zip"
    pictures.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        for number in range(36):
            Picture.fromarray(rng.integers(0, 200, (20, 20), np.uint8)).save(pictures / f"{number:02d}.png")
            file.write(pictures / f"{number:02d}.png", f"{number:02d}.png")
    (tmp_path / "recipe.yaml").write_text(
        "summary: grey levels\nsource: {name: folder, root: nowhere}\ntransforms: {name: grey_image, size: [16, 16]}\n"
        "detector: {name: intensity}\nsplit: {held_out: 0.4}\ncalibration: {false_alarm_rate: 0.2}\n"
    )
    return str(pictures), f"zip://{tmp_path / 'set.zip'}"


def medood(*arguments: str | Path) -> str:
    device = [] if arguments[0] == "gate" else ["--device", "cpu"]
    result = CliRunner().invoke(app, [*map(str, arguments), *device])
    assert result.exit_code == 0, result.output
    return result.output


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_command_finds_the_same_at_an_address(both: tuple[str, str], tmp_path: Path) -> None:
    tables = []
    for name, images in zip(("near", "far"), both, strict=True):
        run, scores, gate = tmp_path / name, tmp_path / f"{name}.csv", tmp_path / f"{name}-gate.csv"
        medood("train", tmp_path / "recipe.yaml", "--data", images, "--out", run)
        medood("score", run, images, "--out", scores)
        medood("gate", run, images, "--out", gate)
        medood("gate", run, "--fit", images, "--overwrite")
        medood("plot", run, images, "--out", tmp_path / f"{name}-plots", "--limit", "4")
        assert list((tmp_path / f"{name}-plots").glob("*.png"))
        tables.append((rows_of(scores), rows_of(gate), (run / "gate.npz").read_bytes()))
    assert len(tables[0][0]) == len(tables[0][1]) == 36
    assert tables[0] == tables[1]


def test_a_recipe_may_name_an_address(both: tuple[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "advised.yaml"
    medood("advise", both[1], "--out", recipe, "--detectors", "intensity", "--anomalies", "bright", "--images", "24")
    rate = ("--set", "calibration.false_alarm_rate=0.2")
    assert load_recipe(recipe).source["root"] == both[1]
    medood("train", recipe, "--out", tmp_path / "far", *rate)
    medood("train", recipe, "--data", both[0], "--out", tmp_path / "near", *rate)
    assert load_run(tmp_path / "far").recipe.source["root"] == both[1]
    assert (tmp_path / "far/weights.safetensors").read_bytes() == (tmp_path / "near/weights.safetensors").read_bytes()


def refusal(address: str) -> str:
    def look() -> None:
        remote = Remote(address)
        update_remote(remote, default_file(remote.address), console=QUIET)

    with pytest.raises(MedoodError) as caught:
        look()
    return str(caught.value)


def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing at this address" in refusal(f"zip://{tmp_path}/none.zip")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 cut")
    assert "cannot be read (BadZipFile)" in refusal(f"zip://{tmp_path}/cut.zip")
    assert "knows no such kind" in refusal("nonsense://somewhere/else")
    monkeypatch.setattr(remote_module, "find_spec", lambda name: None)
    assert "pip install medood[remote]" in refusal(f"zip://{tmp_path}/cut.zip")


def test_missing_credentials_and_buckets_are_told_apart(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing at this address" in refusal("s3://elsewhere/images")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert "AWS_ACCESS_KEY_ID" in refusal(f"{store}/images")


@pytest.mark.parametrize(
    ("address", "remote"),
    [("s3://bucket/folder", True), ("s3:/bucket/folder", True), ("zip:///a/b.zip", True), ("dicomweb://host/root#study=1", False)],
)
def test_addresses(address: str, remote: bool) -> None:
    assert is_remote(address) == is_remote(str(Path(address))) == remote
    assert not is_remote("/a/folder")
    assert not is_remote("C:/a/folder")
