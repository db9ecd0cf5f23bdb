"""Commands that are given an index find, train, score and label what they would without it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mixed_archive import mixed_archive
from PIL import Image
from typer.testing import CliRunner

from medood.cli import app
from medood.core.console import Console
from medood.core.errors import MedoodError
from medood.index.archive import update
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.sources import image
from medood.tasks.images.index import index_folder
from medood.tasks.images.labels import labels_of
from medood.tasks.looking import plot
from medood.tasks.scoring.gate import fit_run_gate, gate_folder
from medood.tasks.scoring.score import score_folder
from medood.tasks.training import advise, pretrain
from medood.tasks.training.train import train_recipe

pytest.importorskip("duckdb", reason="an index needs DuckDB")
RECIPE = """
summary: grey levels
source: {name: folder, root: nowhere}
transforms: {name: grey_image, size: [16, 16]}
detector: {name: intensity}
split: {held_out: 0.4}
calibration: {false_alarm_rate: 0.2}
"""


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDOOD_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Thirty pictures with a table, and what cannot be used."""
    root = tmp_path / "pictures"
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(rng.integers(0, 200, (20, 20), np.uint8)).save(root / f"n{number:02d}.png")
    (root / "broken.png").write_bytes(b"\x89PNG broken")
    rows = [f"n{number:02d}.png,p{number},{int(number > 25)},{'test' if number > 25 else 'train'}" for number in range(30)]
    (root / "table.csv").write_text("\n".join(["path,group,label,part", *rows]) + "\n")
    return root


@pytest.fixture
def index(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    file = tmp_path / "index.duckdb"
    update(pictures, file, workers=1, console=Console(quiet=True))
    return str(file)


@pytest.fixture
def run(pictures: Path, tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return train_recipe(load_recipe(str(tmp_path / "recipe.yaml")), tmp_path / "run", data=pictures, device="cpu")


def never(*_: object) -> int:
    raise AssertionError("a header was read although the index has it")


def test_a_training_is_the_same(pictures: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    runs = []
    for named, changes in ((None, ()), (index, ()), (None, ["source.csv=table.csv"]), (index, ["source.csv=table.csv"])):
        with monkeypatch.context() as patch:
            if named:
                patch.setattr(image, "_count", never)
            recipe = load_recipe(str(tmp_path / "recipe.yaml"), changes)
            run = train_recipe(recipe, tmp_path / str(len(runs)), data=pictures, device="cpu", index=named)
        runs.append([(run / name).read_bytes() for name in ("index.json", "weights.safetensors", "hashes.npz")])
    for one, other in (runs[:2], runs[2:]):
        assert one[0].decode() == other[0].decode()
        assert one == other
    assert runs[0] != runs[2], "the table leaves images out"


@pytest.mark.parametrize("table", [None, "table.csv"])
def test_scores_are_the_same(
    pictures: Path, index: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str | None
) -> None:
    options = {"device": "cpu", "table": table, "console": Console(quiet=True)}
    plain = score_folder(run, pictures, tmp_path / "plain.csv", **options)
    monkeypatch.setattr(image, "_count", never)
    kept = score_folder(run, pictures, tmp_path / "kept.csv", index=index, **options)
    rows = (tmp_path / "plain.csv").read_text()
    assert (tmp_path / "kept.csv").read_text() == rows
    assert rows.count("\n") == plain.rows + 1 == kept.rows + 1
    assert ("broken.png" in rows) == (table is None)


def test_scores_of_dicom_and_volumes_are_the_same(run: Path, tmp_path: Path) -> None:
    root = mixed_archive(tmp_path / "archive")
    file = tmp_path / "index.duckdb"
    update(root, file, workers=1, console=Console(quiet=True))
    for name, named in (("plain.csv", None), ("kept.csv", str(file))):
        score_folder(run, root, tmp_path / name, device="cpu", index=named, console=Console(quiet=True))
    rows = (tmp_path / "plain.csv").read_text()
    assert (tmp_path / "kept.csv").read_text() == rows
    assert rows.count("\nseries,") > 5


def test_labels_are_the_same(pictures: Path, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert labels_of("folder", pictures, tmp_path / "plain.csv", table="table.csv") == ()
    monkeypatch.setattr(image, "_count", never)
    labels_of("folder", pictures, tmp_path / "kept.csv", table="table.csv", index=index)
    assert (tmp_path / "kept.csv").read_text() == (tmp_path / "plain.csv").read_text()


@pytest.mark.parametrize("table", [None, "table.csv"])
def test_the_gate_answers_the_same(
    pictures: Path, index: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str | None
) -> None:
    plain = gate_folder(run, pictures, tmp_path / "plain.csv", table=table)
    monkeypatch.setattr(image, "_count", never)
    kept = gate_folder(run, pictures, tmp_path / "kept.csv", table=table, index=index)
    assert (tmp_path / "kept.csv").read_text() == (tmp_path / "plain.csv").read_text()
    assert (kept.inside, kept.outside, kept.failed) == (plain.inside, plain.outside, plain.failed)
    assert kept.inside + kept.outside == 30


def test_a_gate_is_fitted_on_the_same(pictures: Path, index: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []
    for named in (None, index):
        if named:
            monkeypatch.setattr(image, "_count", never)
        fit_run_gate(run, pictures, table="table.csv", overwrite=True, index=named)
        fitted.append([path.read_bytes() for path in sorted(run.glob("gate*"))])
    assert fitted[0]
    assert fitted[0] == fitted[1]


def test_advice_and_figures_are_about_the_same_images(
    pictures: Path, index: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, console = tmp_path / "other", Console(quiet=True)
    other.mkdir()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(other / "x.png")
    loaded = load_run(run)

    def found(named: str | None) -> list[object]:
        first = plot.First(table="table.csv", part="test", index=named)
        places = plot._places(loaded, [pictures, other] if named is None else [pictures], first, 3, console)
        given = {"name": "folder", "root": str(pictures), "csv": "table.csv"}
        return [list(places[0].entries), vars(advise._opened(pictures, given, named, 0, console)[1])]

    plain = found(None)
    monkeypatch.setattr(image, "_count", never)
    assert found(index) == plain
    assert len(plain[0]) == 3  # type: ignore[arg-type]


def test_an_index_without_a_folder_is_a_mistake(run: Path, tmp_path: Path) -> None:
    with pytest.raises(MedoodError, match="--index are about a folder of images"):
        plot.plot(run, [], tmp_path / "plots", index="auto")


def test_pretraining_knows_its_images_by_the_index(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def images(*arguments: object) -> None:
        asked.append(arguments[-1])
        raise MedoodError("no further")

    monkeypatch.setattr(pretrain, "_detector", lambda recipe: (None, None))
    monkeypatch.setattr(pretrain, "normal_images", images)
    done = CliRunner().invoke(
        app, ["pretrain", "rsna_padim", "--data", str(pictures), "--out", str(tmp_path / "out"), "--device", "cpu", "--index", "auto"]
    )
    assert "no further" in done.output
    assert asked == ["auto"]


def test_an_engine_reads_no_address(tmp_path: Path) -> None:
    runner = CliRunner()
    refused = runner.invoke(app, ["index", f"zip://{tmp_path}/x.zip", "--to", str(tmp_path / "x.duckdb"), "--engine", "dask://nowhere:1"])
    assert refused.exit_code == 2
    assert "cannot from an address" in refused.stderr
    unknown = runner.invoke(app, ["index", str(tmp_path), "--engine", "ray"])
    assert "--engine takes local" in unknown.stderr
    both = runner.invoke(app, ["index", str(tmp_path), "--engine", "dask://nowhere:1", "--workers", "3"])
    assert "Leave one out" in both.stderr


def test_an_engine_that_does_not_answer_leaves_the_index(pictures: Path, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from medood.engines import dask_cluster
    from medood.engines.engine import Engine

    monkeypatch.setattr(dask_cluster, "_CONNECT", 0.5)
    before = Path(index).read_bytes()
    with pytest.raises(MedoodError, match="No Dask scheduler answers"):
        index_folder(pictures, Path(index), engine=Engine("cluster", "127.0.0.1:9"), overwrite=True)
    assert Path(index).read_bytes() == before


def test_the_commands(pictures: Path) -> None:
    runner = CliRunner()
    plain = runner.invoke(app, ["inspect", str(pictures), "--json"])
    refused = runner.invoke(app, ["inspect", str(pictures), "--json", "--index", "auto"])
    assert refused.exit_code == 2
    made = runner.invoke(app, ["index", str(pictures), "--workers", "1"])
    assert made.exit_code == 0
    kept = runner.invoke(app, ["inspect", str(pictures), "--json", "--index", "auto"])
    assert kept.stdout == plain.stdout
    said = json.loads(plain.stdout)
    assert (said["images"], said["patients"], len(said["entries"]), len(said["problems"])) == (30, 30, 30, 2)
    again = runner.invoke(app, ["index", str(pictures)])
    assert "32 files, 0 of them read now" in again.stderr
    assert runner.invoke(app, ["inspect", str(pictures), "--index", made.stdout.strip()]).stdout.startswith("images id")
