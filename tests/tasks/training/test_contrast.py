"""Trainings with a contrast and on tables, from files to scores."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medood.core.errors import MedoodError, TableError, TrainingError
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.tasks.scoring.score import score_folder
from medood.tasks.training.train import train_recipe

RECIPE = """
source: {name: folder, root: nowhere}
contrast: {name: folder, root: nowhere}
transforms: {name: grey_image, size: [32, 32]}
features: {name: grey_statistics, size: [32, 32], layers: [4]}
detector: {name: mse_ratio}
training: {tensorboard: false, batch_size: 4}
split: {held_out: 0.4}
calibration: {false_alarm_rate: 0.2}
"""
FLOW = "contrastive_flow, components: 0, blocks: 2, width: 8, epochs: 4, contrast_epochs: 4, bound: quantile, offset: -6.0"


def draw(folder: Path, names: list[str], seed: int, darker: float = 0.0) -> None:
    """Pictures that are all different; with `darker`, dark on the left."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        picture = random.random((32, 32))
        picture[:, :16] *= 1 - darker
        Image.fromarray((picture * 255).astype(np.uint8)).save(folder / f"{name}.png")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Folders `images` and `others`, and `recipe.yaml`."""
    draw(tmp_path / "images", [f"n{number}" for number in range(12)], seed=0)
    draw(tmp_path / "others", [f"o{number}" for number in range(10)], seed=1, darker=0.5)
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def train(place: Path, out: str = "run", *changes: str, contrast: str = "others", data: str = "images") -> Path:
    root = [] if not contrast else [f"contrast.root={(place / contrast).as_posix()}"]
    recipe = load_recipe(place / "recipe.yaml", [*root, *changes])
    return train_recipe(recipe, place / out, data=place / data, device="cpu", cache=place / "cache", progress=False)


def scores(run: Path, folder: Path, **options: object) -> dict[str, dict[str, str]]:
    score_folder(run, folder, run / "s.csv", device="cpu", overwrite=True, **options)
    with (run / "s.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def index_of(run: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in json.loads((run / "index.json").read_text(encoding="utf-8")):
        found.setdefault(row["part"], []).append(row["id"])
    return found


def test_the_contrast_is_told_from_the_normal_images_and_the_run_knows_it(place: Path) -> None:
    run = train(place)
    parts = index_of(run)
    assert {part: len(names) for part, names in parts.items()} == {"train": 7, "held_out": 5, "contrast": 6, "contrast_held_out": 4}
    assert load_run(run).recipe.contrast["root"] == str((place / "others").resolve())
    draw(place / "tests", ["a", "b", "c", "d"], seed=7)
    draw(place / "tests", ["e", "f", "g", "h"], seed=8, darker=0.5)
    found = scores(run, place / "tests")
    assert roc_auc_score([0] * 4 + [1] * 4, [float(found[f"{name}.png"]["score"]) for name in "abcdefgh"]) == 1
    assert {row["seen_in_training"] for row in found.values()} == {""}
    again = scores(run, place / "others")
    assert {row["seen_in_training"] for row in again.values()} == {"near_copy"}
    draw(place / "namesakes", ["o0"], seed=9)  # another folder has names of its own
    assert scores(run, place / "namesakes")["o0.png"]["seen_in_training"] == ""


@pytest.mark.parametrize(("share", "others", "more"), [(0.0, 6, 0), (0.25, 6, 2), (0.75, 1, 2), (1.0, 0, 2)])
def test_a_contrast_may_be_mixed_of_two_sources(place: Path, share: float, others: int, more: int) -> None:
    draw(place / "more", ["m0", "m1", "m2"], seed=3, darker=0.2)
    recipe = RECIPE.replace(
        "contrast: {name: folder, root: nowhere}",
        f"contrast: {{name: folder, root: nowhere, mixed_with: {{share: {share}, name: folder, root: {(place / 'more').as_posix()}}}}}",
    )
    (place / "recipe.yaml").write_text(recipe, encoding="utf-8")
    found = index_of(train(place))["contrast"]
    assert [sum(name[0] == letter for name in found) for letter in "om"] == [others, more]
    assert len(set(found)) == len(found)


def test_a_contrast_mixed_with_training_images_alone_is_refused(place: Path) -> None:
    mixed = f"mixed_with: {{share: 1.0, name: folder, root: {(place / 'images').as_posix()}}}"
    recipe = RECIPE.replace("contrast: {name: folder, root: nowhere}", f"contrast: {{name: folder, root: nowhere, {mixed}}}")
    (place / "recipe.yaml").write_text(recipe, encoding="utf-8")
    with pytest.raises(TrainingError, match="the training set itself"):
        train(place)


def test_a_contrast_that_is_the_training_set_is_refused_however_it_is_named(place: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(place / "images", place / "copies")
    for folder in ("images", "copies"):
        with pytest.raises(TrainingError, match="the training set itself"):
            train(place, folder, contrast=folder)


def test_normal_images_inside_the_contrast_are_allowed_and_said(place: Path, capsys: pytest.CaptureFixture) -> None:
    for name in index_of(train(place, "first"))["train"][:3]:
        shutil.copy(place / "images" / name, place / "others" / f"copy_of_{name}")
    train(place, "second")
    assert "of the contrast" in (said := capsys.readouterr().err)
    assert "are training images too" in said
    assert "That is allowed" in said


def test_held_out_images_inside_the_contrast_are_pointed_out(place: Path, capsys: pytest.CaptureFixture) -> None:
    for name in index_of(train(place, "first"))["held_out"]:
        shutil.copy(place / "images" / name, place / "others" / f"copy_of_{name}")
    capsys.readouterr()
    train(place, "second")
    assert "are held-out normal images" in capsys.readouterr().err


def test_anomalies_and_the_test_part_of_a_table_are_no_contrast(place: Path) -> None:
    rows = [f"o{n}.png,p{n},{label},{part}" for n, (label, part) in enumerate([("0", "")] * 4 + [("1", "")] * 3 + [("", "")] * 3)]
    (place / "others" / "t.csv").write_text("path,group,label,part\n" + "\n".join(rows), encoding="utf-8")
    parts = index_of(train(place, "run", "contrast.csv=t.csv"))
    assert set(parts["contrast"]) | set(parts["contrast_held_out"]) == {f"o{n}.png" for n in (0, 1, 2, 3, 7, 8, 9)}


def test_a_contrast_of_other_channels_or_without_images_is_refused(place: Path) -> None:
    (place / "empty").mkdir()
    with pytest.raises(MedoodError, match="found no image"):
        train(place, "a", contrast="empty")
    with pytest.raises(MedoodError, match="needs the folder"):
        train(place, "b", contrast="nowhere")
    steps = "transforms.steps=[{scale_range: {low: 0.0, high: 255.0}}]"
    (place / "colour").mkdir()
    for number in range(3):
        Image.fromarray(np.full((32, 32, 3), (10 * number, 90, 200), np.uint8)).save(place / "colour" / f"{number}.png")
    with pytest.raises(TrainingError, match="has no image to train with: 3 series or images"):
        train(place, "c", steps, contrast="colour")


def test_a_changed_contrast_is_another_training(place: Path) -> None:
    train(place)
    draw(place / "others", ["o11"], seed=5)
    flow = f"detector={{name: {FLOW}}}"
    run = train(place, "flow", flow)
    draw(place / "others", ["o12"], seed=6)
    recipe = load_recipe(place / "recipe.yaml", [f"contrast.root={(place / 'others').as_posix()}", flow, "training.epochs=5"])
    with pytest.raises(MedoodError, match="the training images"):
        train_recipe(recipe, run, data=place / "images", device="cpu", cache=place / "cache", progress=False, resume=True)


@pytest.mark.parametrize("made", ["synthetic", "product_of_marginals"])
def test_a_contrast_that_is_made_of_the_training_images(place: Path, made: str) -> None:
    run = train(place, "run", f"contrast={made}", f"detector={{name: {FLOW}}}", contrast="")
    found = scores(run, place / "others")
    assert all(np.isfinite(float(row["score"])) for row in found.values())
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert all(0 <= line["losses"]["clamped"] <= 1 for line in history if line["phase"] == "contrast")


TABLE = """
source: {name: numbers, root: nowhere, csv: train.csv}
detector: {name: contrastive_flow, components: 3, blocks: 3, width: 16, learning_rate: 5e-3, epochs: 20, contrast_epochs: 10}
contrast: product_of_marginals
training: {tensorboard: false, batch_size: 30}
calibration: {false_alarm_rate: 0.1}
"""


def write_table(path: Path, rows: np.ndarray, extra: str = "") -> None:
    lines = [f"p{n},{','.join(f'{value:.6g}' for value in row)}" for n, row in enumerate(rows)]
    path.write_text("group,a,b,c\n" + "\n".join(lines) + extra + "\n", encoding="utf-8")


def tied(count: int, seed: int) -> np.ndarray:
    """Three numbers of very different size that go together."""
    random = np.random.default_rng(seed)
    base = random.normal(size=(count, 1))
    return np.concatenate([base, base, -base], 1) * [1.0, 1000.0, 0.01] + random.normal(size=(count, 3)) * [0.1, 100.0, 0.001]


def test_a_table_of_numbers_is_trained_on_and_scored(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(TABLE, encoding="utf-8")
    write_table(tmp_path / "train.csv", tied(150, 0))
    run = train(tmp_path, data=".", contrast="")
    recipe = load_run(run).recipe
    assert recipe.source["columns"] == ["a", "b", "c"]
    torn = np.stack([column[np.random.default_rng(n).permutation(60)] for n, column in enumerate(tied(60, 1).T)], 1)
    write_table(tmp_path / "test.csv", np.concatenate([tied(60, 2), torn]), "\nlast,1,,3")
    found = scores(run, tmp_path, source="numbers", table="test.csv")
    values = [float(row["score"]) for row in found.values() if row["status"] == "ok"]
    assert len(values) == 120
    assert roc_auc_score([0] * 60 + [1] * 60, values) > 0.8
    assert "No number in b" in found["test.csv/000122"]["reason"]
    assert {row["decision"] for row in found.values() if row["status"] == "ok"} == {"normal", "anomalous"}
    with pytest.raises(MedoodError, match="--source numbers --table"):
        scores(run, tmp_path)


def test_a_table_that_cannot_be_learned_from_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(TABLE, encoding="utf-8")
    rows = tied(30, 0)
    rows[:, 1] = 5
    write_table(tmp_path / "train.csv", rows, "\nlast,1,x,3")
    with pytest.raises(TableError, match=r"text in b \(line 32\); one and the same number in every training row of b"):
        train(tmp_path, data=".", contrast="")
