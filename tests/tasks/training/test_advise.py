"""`medood advise` on images with known truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from medood import cli
from medood.advising import candidates
from medood.advising.candidates import PREPARATIONS
from medood.core.errors import MedoodError, TrainingError
from medood.recipe.run import is_run
from medood.tasks.training.advise import Advice, advise
from medood.tasks.training.train import train_recipe

PATIENT = "ROE^JANE"


@pytest.fixture(scope="module", autouse=True)
def small_images() -> Iterator[None]:
    """Candidates as they are, at 64 x 64 pixels."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, preparations in PREPARATIONS.items():
            patch.setitem(PREPARATIONS, kind, {name: values | {"size": [64, 64]} for name, values in preparations.items()})
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey pictures of the same anatomy with smooth texture, three of each of ten patients."""
    folder = tmp_path_factory.mktemp("normal")
    anatomy = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((48, 48)), 6)
    rows = ["path,group,label,part"]
    for number in range(30):
        texture = ndimage.gaussian_filter(np.random.default_rng(number + 1).standard_normal((48, 48)), 2)
        image = 110 + 25 * anatomy / anatomy.std() + 12 * texture / texture.std()
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,{PATIENT} {number // 3},0,")
    (folder / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def advised(pictures: Path, place: Path, **options) -> Advice:
    given = {"table": "table.csv", "images": 30, "detectors": ["intensity"], "anomalies": ["bright"], "device": "cpu"} | options
    return advise(pictures, place / "recipe.yaml", cache=place / "cache", **given)


@pytest.fixture(scope="module")
def bright(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Advice, Path]:
    place = tmp_path_factory.mktemp("bright")
    return advised(pictures, place), place


def test_what_sees_bright_lesions_comes_first_and_what_cannot_last(bright: tuple[Advice, Path]) -> None:
    order = [each.name for each in bright[0].ranked]
    assert not order[0].startswith("intensity lower")
    assert order[-1].startswith("intensity lower")
    assert bright[0].ranked[0].mean.value > 0.65
    assert bright[0].ranked[-1].mean.value < 0.5
    assert set(bright[0].ranked[0].cases) == {"bright, small", "bright, large", "bright, many"}


def test_the_recipe_says_how_it_was_chosen_and_trains(bright: tuple[Advice, Path], pictures: Path, tmp_path: Path) -> None:
    from medood.tasks.training.check import check

    advice, place = bright
    text = advice.recipe.read_text(encoding="utf-8")
    assert "# Measured by medood" in text
    assert "--seed 0" in text
    assert "bright" in text
    assert PATIENT not in text
    check(advice.recipe)
    from medood.recipe.loading import load_recipe

    recipe = load_recipe(advice.recipe, ["calibration.false_alarm_rate=0.4", "split.held_out=0.4"])
    assert recipe.detector["side"] in ("higher", "both")
    assert recipe.source["csv"] == "table.csv"
    assert is_run(train_recipe(recipe, tmp_path / "run", data=None, device="cpu", cache=place / "cache", progress=False))


def test_the_same_seed_gives_the_same_numbers_and_replaces_the_recipe_if_asked(bright: tuple[Advice, Path], pictures: Path) -> None:
    before = bright[0].recipe.read_text(encoding="utf-8")
    with pytest.raises(MedoodError, match="--overwrite"):
        advised(pictures, bright[1])
    again = advised(pictures, bright[1], overwrite=True)
    assert again.ranked == bright[0].ranked
    assert again.trivial == bright[0].trivial
    assert again.recipe.read_text(encoding="utf-8") == before


def test_volumes_are_pooled_through_slices_and_trivial_brightness_likewise(tmp_path: Path) -> None:
    from medood.tasks.images.phantoms import write_phantoms

    write_phantoms(tmp_path / "images", subjects=6, seed=0)
    given = {"source": "brats", "table": None, "images": 30}
    advice = advised(tmp_path / "images" / "nifti", tmp_path, **given)
    assert advice.ranked[0].name.startswith("intensity higher")
    assert "200 mm²" in advice.ranked[0].name
    assert {"bright, higher", "dark, higher"} <= {each.name for each in advice.trivial}
    assert "erode_mm: 3.0" in advice.recipe.read_text(encoding="utf-8")


def test_what_is_too_little_is_refused_with_a_sentence(pictures: Path, tmp_path: Path) -> None:
    lines = (pictures / "table.csv").read_text(encoding="utf-8").splitlines()
    for name, kept, message in (("one", lines[:4], "1 patient"), ("few", lines[:10], "at least 8 of each")):
        (pictures / f"{name}.csv").write_text("\n".join(kept), encoding="utf-8")
        with pytest.raises(TrainingError, match=message):
            advised(pictures, tmp_path, table=f"{name}.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedoodError, match="found no image"):
        advised(tmp_path / "empty", tmp_path, table=None)
    with pytest.raises(MedoodError, match="frog: no kind of anomaly"):
        advised(pictures, tmp_path, anomalies=["frog"])
    with pytest.raises(MedoodError, match=r"No candidate fits.*--budget"):
        advised(pictures, tmp_path, budget=1e-9)
    assert not (tmp_path / "recipe.yaml").exists()


def test_the_command_says_costs_first_and_names_nobody(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(weights: str, words: object) -> Path:
        raise MedoodError("features: the weights are not on this machine.")

    monkeypatch.setattr(candidates, "find_weights", missing)
    words = ["advise", str(pictures), "--table", "table.csv", "--out", str(tmp_path / "r.yaml"), "--images", "30"]
    words += ["--detectors", "knn", "--anomalies", "blur", "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.output
    assert result.output.rindex("to train on all") < result.output.index("1/2 knn on gradient_histograms")
    assert "Trivial features" in result.output
    assert f"medood train {tmp_path / 'r.yaml'}" in result.output
    assert PATIENT not in result.output
    assert "knn on gradient_histograms" in result.output
    assert "Hand-made features are used" in result.output
