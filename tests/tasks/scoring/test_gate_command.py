"""`medood gate`: one answer about every file, without the detector, and a gate for runs that have none."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import medood
from medood.cli import app
from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.gate.gate import Gate
from medood.recipe.run import add_file
from medood.tasks.scoring.gate import fit_run_gate, gate_folder
from medood.tasks.scoring.score import score_folder

RECIPE = {
    "source": {"name": "folder", "root": "nowhere"},
    "transforms": {"summary": "", "size": [32, 32], "range": [0.0, 1.0], "steps": [{"scale_range": {"low": 0, "high": 255}}]},
    "detector": {"name": "intensity"},
    "split": {"held_out": 0.4},
}


def draw(folder: Path, count: int, seed: int, upside_down: bool = False) -> Path:
    """Pictures that are bright above and to the left and in the middle, or upside down."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        ramp = np.linspace(random.uniform(140, 160), random.uniform(20, 40), 32)[:, None] + random.normal(0, 6, (32, 32))
        ramp = ramp - np.linspace(-20, 20, 32) + 60 * np.exp(-np.square(np.indices((32, 32)) - 15.5).sum(0) / 40)
        pixels = ramp.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels[::-1] if upside_down else pixels).save(folder / f"{number:03d}.png")
    return folder


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gate")
    normal = draw(place / "normal", 60, 0)
    medood.train(RECIPE, data=normal, out=place / "run", cache=place / "cache")
    return place / "run"


def test_a_run_on_features_asks_them_in_every_command_alike(tmp_path: Path) -> None:
    """The same p-values whether the detector scores the images too or not; too few patients are held out to ask its scores."""
    normal, new = draw(tmp_path / "normal", 60, 0), tmp_path / "new"
    draw(new / "usual", 6, 1)
    draw(new / "odd", 6, 1, upside_down=True)
    recipe = RECIPE | {"features": {"name": "grey_statistics"}, "detector": {"name": "knn"}, "split": {"held_out": 0.1}}
    recipe |= {"calibration": {"false_alarm_rate": 0.2}}
    run = Path(medood.train(recipe, data=normal, out=tmp_path / "run", cache=tmp_path / "cache").folder)
    gate = Gate.load(run, ImageSpec(1, 32, 32))
    assert gate is not None
    assert gate.needs_features
    score_folder(run, new, tmp_path / "scores.csv")
    gate_folder(run, new, tmp_path / "gate.csv")
    scored, asked = rows_of(tmp_path / "scores.csv"), rows_of(tmp_path / "gate.csv")
    assert len(asked) == 12
    assert {name: row["domain_p"] for name, row in scored.items()} == {name: row["domain_p"] for name, row in asked.items()}
    assert len({row["domain_p"] for row in asked.values()}) > 3
    fit_run_gate(run, normal, overwrite=True, cache=tmp_path / "cache")
    gate_folder(run, new, tmp_path / "again.csv")
    again = rows_of(tmp_path / "again.csv")
    assert len(again) == 12
    assert Gate.load(run, ImageSpec(1, 32, 32)).needs_features  # type: ignore[union-attr]


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Ten pictures of the run's kind, five upside down, one in colour, one that is none, and a note."""
    folder = draw(tmp_path / "mixed" / "same", 10, 1).parent
    draw(folder / "down", 5, 2, upside_down=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(folder / "colour.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("What lies beside images is passed over, and is no failure.")
    return folder


def test_every_file_gets_an_answer_and_a_reason(run: Path, mixed: Path, tmp_path: Path) -> None:
    answer = gate_folder(run, mixed, tmp_path / "gate.csv")
    rows = rows_of(tmp_path / "gate.csv")
    assert {rows[f"down/{n:03d}.png"]["in_domain"] for n in range(5)} == {"no"}
    assert all("upside down" in rows[f"down/{n:03d}.png"]["domain_reason"] for n in range(5))
    assert sum(rows[f"same/{n:03d}.png"]["in_domain"] == "yes" for n in range(10)) >= 9
    assert rows["colour.png"]["in_domain"] == "no"
    assert rows["broken.png"]["status"] == "error"
    assert (answer.inside + answer.outside, answer.failed) == (16, 1)


def test_scores_carry_the_same_answers(run: Path, mixed: Path, tmp_path: Path) -> None:
    gate_folder(run, mixed, tmp_path / "gate.csv")
    score_folder(run, mixed, tmp_path / "scores.csv", device="cpu")
    asked, scored = rows_of(tmp_path / "gate.csv"), rows_of(tmp_path / "scores.csv")
    for name in (f"down/{n:03d}.png" for n in range(5)):
        assert scored[name]["in_domain"] == "no"
        assert scored[name]["decision"] == "out_of_domain"
        assert float(scored[name]["domain_p"]) <= float(asked[name]["domain_p"]) * 1.001
    for name in (f"same/{n:03d}.png" for n in range(10)):
        assert (scored[name]["decision"] == "out_of_domain") == (scored[name]["in_domain"] == "no")


@pytest.mark.parametrize("why", ["there is none", "its statistics are not today's"])
def test_a_run_without_a_gate_says_how_to_add_one_and_takes_it(
    run: Path, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "there is none":
        manifest = json.loads((run / "manifest.json").read_text())
        del manifest["gate.npz"]
        (run / "manifest.json").write_text(json.dumps(manifest))
        (run / "gate.npz").unlink()
    else:
        monkeypatch.setattr("medood.gate.gate.BANK", 99)
    with pytest.raises(MedoodError, match=r"medood gate .* --fit FOLDER"):
        gate_folder(run, mixed, tmp_path / "gate.csv")
    assert not (tmp_path / "gate.csv").exists()
    score_folder(run, mixed, tmp_path / "scores.csv", device="cpu")
    assert "has no gate" in capsys.readouterr().err
    row = rows_of(tmp_path / "scores.csv")["down/000.png"]
    assert (row["in_domain"], row["domain_p"], row["domain_reason"]) == ("", "", "")
    assert row["decision"] in ("normal", "anomalous")
    said = fit_run_gate(run, draw(tmp_path / "more", 40, 3), cache=tmp_path / "cache")
    assert any("modality" in sentence for sentence in said)
    medood.load(run, device="cpu")
    gate_folder(run, mixed, tmp_path / "gate.csv")
    assert rows_of(tmp_path / "gate.csv")["down/000.png"]["in_domain"] == "no"


def test_the_library_gives_the_answer(run: Path, mixed: Path) -> None:
    loaded = medood.load(run, device="cpu")
    down, same = loaded.score(mixed / "down" / "000.png"), loaded.score(mixed / "same" / "000.png")
    assert (down.in_domain, down.decision) == (False, "out_of_domain")
    assert down.domain_p is not None
    assert same.domain_p is not None
    assert down.domain_p <= 0.01
    assert down.domain_p < same.domain_p
    assert any("upside down" in reason for reason in down.domain_reason)


def test_an_altered_gate_is_refused(run: Path, mixed: Path, tmp_path: Path) -> None:
    (run / "gate.npz").write_bytes(b"other")
    with pytest.raises(MedoodError, match="altered"):
        gate_folder(run, mixed, tmp_path / "gate.csv")


def test_the_command_asks_for_one_thing_and_keeps_what_is_there(run: Path, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "gate.csv"
    result = CliRunner().invoke(app, ["gate", str(run), str(mixed), "--out", str(out)])
    assert result.exit_code == 3  # one file could not be read
    assert "5 are not" in result.output or "6 are not" in result.output or "7 are not" in result.output
    before = out.read_bytes()
    assert CliRunner().invoke(app, ["gate", str(run), str(mixed), "--out", str(out)]).exit_code == 2
    assert out.read_bytes() == before
    assert "name one of the two" in CliRunner().invoke(app, ["gate", str(run)]).output


def test_a_gate_is_replaced_only_when_that_is_asked_for(run: Path, tmp_path: Path) -> None:
    more, before = draw(tmp_path / "more", 40, 3), (run / "gate.npz").read_bytes()
    fit = ["gate", str(run), "--fit", str(more), "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(app, fit)
    assert result.exit_code == 2
    assert "has a gate already: replace it with --overwrite" in " ".join(result.output.split())
    assert (run / "gate.npz").read_bytes() == before
    assert CliRunner().invoke(app, [*fit, "--overwrite"]).exit_code == 0
    assert (run / "gate.npz").read_bytes() != before
    medood.load(run, device="cpu")


def test_a_damaged_gate_is_fitted_again_as_its_message_says(run: Path, tmp_path: Path) -> None:
    (run / "gate.npz").write_bytes(b"damaged")
    add_file(run, "gate.npz")
    with pytest.raises(MedoodError, match=r"is damaged: make it again with `medood gate .* --fit FOLDER`"):
        Gate.load(run, ImageSpec(1, 32, 32))
    fit_run_gate(run, draw(tmp_path / "more", 40, 3), cache=tmp_path / "cache")
    assert Gate.load(run, ImageSpec(1, 32, 32)) is not None
