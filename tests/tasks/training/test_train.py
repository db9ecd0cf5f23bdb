"""What `medood train` leaves, and what it leaves alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medood import cli
from medood.core.errors import CalibrationError, MedoodError, ResumeError, TrainingError
from medood.core.files.lock import alone
from medood.core.running.termination import Terminated
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.tasks.scoring.score import score_folder
from medood.tasks.training import train as train_task
from medood.tasks.training.train import train_recipe
from medood.training import trainer
from medood.training.watching.history import History, read_history

RECIPE = """
source: {name: folder, root: nowhere}
transforms: {name: grey_image, size: 32}
detector: {name: cvad, latent: 2, width: 2, branch_width: 2, head: paper}
training: {epochs: 1, batch_size: 8, tensorboard: false}
split: {held_out: 0.4}
calibration: {false_alarm_rate: 0.2}
"""
PATIENTS = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that nobody labelled: the user says that they are normal."""
    folder, rng = tmp_path_factory.mktemp("train"), np.random.default_rng(0)
    (folder / "images").mkdir()
    y, x = np.mgrid[:36, :36]
    for i in range(PATIENTS):
        image = 150 * np.exp(-((x - 18 - rng.normal()) ** 2 + (y - 18 - rng.normal()) ** 2) / 90) + 20 * rng.random((36, 36))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{i:02d}.png")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


def train(place: Path, out: Path, *changes: str, **options) -> Path:
    recipe = load_recipe(place / "recipe.yaml", changes)
    given = {"data": place / "images", "device": "cpu", "cache": place / "cache", "progress": False} | options
    return train_recipe(recipe, out, **given)


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    return train(place, place / "run")


@pytest.fixture(scope="module")
def longer(place: Path) -> Path:
    """Trained for two epochs in one go."""
    return train(place, place / "longer", "training.epochs=2")


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stop_after(monkeypatch: pytest.MonkeyPatch, epochs: int, how: type[BaseException] = KeyboardInterrupt) -> None:
    """Stop when so many epochs, of whatever phase, are in the history."""
    record, seen = History.append, []

    def append(self, values) -> None:
        record(self, values)
        seen.append(values)
        if len(seen) == epochs:
            raise how

    monkeypatch.setattr(History, "append", append)


def test_a_finished_run_holds_what_it_needs_and_no_more(run: Path) -> None:
    files = set(content(run))
    assert files == {
        *("run.json", "weights.safetensors", "calibration.json", "index.json", "gate.npz", "hashes.npz", "manifest.json"),
        "history.jsonl",
        *("checkpoint/phase-0.safetensors", "checkpoint/phase-1.safetensors"),
    }


def test_two_trainings_into_one_folder_are_refused(place: Path, run: Path) -> None:
    before = content(run)
    with alone(run / ".lock", run), pytest.raises(MedoodError, match="right now"):
        train(place, run, overwrite=True)
    assert content(run) == before


def test_a_second_training_is_refused_while_the_first_runs(place: Path, tmp_path: Path, monkeypatch) -> None:
    refusals = []

    def twice(self, values) -> None:
        with pytest.raises(MedoodError, match="right now") as caught:
            train(place, tmp_path / "run", overwrite=True)
        refusals.append(caught.value)

    monkeypatch.setattr(History, "append", twice)
    assert load_run(train(place, tmp_path / "run"))
    assert len(refusals) == 3


@pytest.mark.parametrize(
    ("changes", "options", "error"),
    [
        ((), {"data": None}, MedoodError),
        ((), {"device": "nonsense"}, MedoodError),
        (("transforms.size=40",), {}, MedoodError),
        (("training.epochs={generatr: 1}",), {}, TrainingError),
        (("training.warmup_epochs=1",), {}, TrainingError),
        (("calibration.false_alarm_rate=0.001",), {}, CalibrationError),
        (("split.held_out=1",), {}, TrainingError),
        ((), {"resume": True, "data": None}, MedoodError),
    ],
    ids=str,
)
def test_a_refusal_leaves_nothing_behind(place: Path, run: Path, tmp_path: Path, changes, options, error) -> None:
    with pytest.raises(error):
        train(place, tmp_path / "runs" / "new", *changes, **options)
    assert list(tmp_path.iterdir()) == []
    shutil.copytree(run, tmp_path / "run")
    before = content(tmp_path / "run")
    with pytest.raises(error):
        train(place, tmp_path / "run", *changes, **options | {"overwrite": True})
    assert content(tmp_path / "run") == before, "a run is not given up for a training that cannot begin"


def test_what_a_killed_process_left_is_removed(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (out / "checkpoint" / ".part-1").mkdir(parents=True)
    for name in (".lock", ".part-2.json", "checkpoint/.part-3.safetensors"):
        (out / name).touch()
    train(place, out)
    assert not list(out.rglob(".*"))


def test_the_folder_that_was_really_used_is_recorded(place: Path, run: Path, tmp_path: Path, monkeypatch) -> None:
    assert load_run(run).recipe.source["root"] == str((place / "images").resolve())
    monkeypatch.chdir(place)
    found = train(place, tmp_path / "run", "source.root=images", data=None)
    assert load_run(found).recipe.source["root"] == str((place / "images").resolve())


def test_images_without_labels_are_seen_again(place: Path, run: Path, tmp_path: Path, capsys) -> None:
    rows = json.loads((run / "index.json").read_text())
    assert len(rows) == PATIENTS
    assert [row["images"] for row in rows] == [1] * PATIENTS
    shutil.copytree(place / "images", tmp_path / "images")
    shutil.copy(tmp_path / "images" / "00.png", tmp_path / "images" / "new.png")
    score_folder(run, tmp_path / "images", tmp_path / "scores.csv", device="cpu")
    assert f"{PATIENTS} of the entries have the ids" in capsys.readouterr().err
    assert json.loads((tmp_path / "scores.json").read_text())["seen_in_training"] == PATIENTS
    assert not list(tmp_path.glob(".*")), "scoring leaves no lock file either"


def test_the_log_says_what_the_calibration_promises(place: Path, tmp_path: Path, capsys) -> None:
    calibration = load_run(train(place, tmp_path / "run")).calibration["image"]
    low, high = calibration["interval"]
    said = capsys.readouterr().err
    assert f"Threshold for images: {calibration['threshold']:.4g}, for a false-alarm rate of 20 %" in said
    assert (
        f"from 8 held-out normal images of 8 patients, the true rate lies between {100 * low:.1f} % and {100 * high:.1f} % (95 % interval)."
        in said
    )
    few = calibration | {"interval": None, "interval_reason": "there are few patients"}
    assert "no interval of the true rate, because there are few patients." in train_task._threshold(few, "series")


def test_a_finished_run_is_trained_for_longer(place: Path, run: Path, longer: Path, tmp_path: Path, capsys) -> None:
    out = shutil.copytree(run, tmp_path / "run")
    train(place, out, "training.epochs=2", resume=True, progress=True)
    found, expected = content(out), content(longer)
    for name in ("weights.safetensors", "calibration.json", "index.json"):
        assert found[name] == expected[name], name
    assert found.keys() == expected.keys()
    assert read_history(out) == read_history(longer)
    assert load_run(out).recipe.training.epochs == 2
    assert "Going on with phase generator after epoch 1 of 2" in capsys.readouterr().err


def test_a_finished_run_stays_whole_while_it_is_trained_for_longer(
    place: Path, run: Path, longer: Path, tmp_path: Path, monkeypatch
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(place, out, "training.epochs=2", resume=True)
    assert load_run(out).recipe.training.epochs == 1
    assert (out / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    with pytest.raises(ResumeError, match="cannot go back to 1"):
        train(place, out, resume=True)
    with pytest.raises(ResumeError, match=r"changed: seed\)"):
        train(place, out, "training.epochs=2", "seed=3", resume=True)
    train(place, out, "training.epochs=2", resume=True)
    assert (out / "weights.safetensors").read_bytes() == (longer / "weights.safetensors").read_bytes()


def test_a_longer_training_that_fails_costs_nothing(place: Path, run: Path, tmp_path: Path, monkeypatch) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    monkeypatch.setattr(trainer, "finite", lambda detector: False)
    with pytest.raises(TrainingError, match="a weight is not finite"):
        train(place, out, "training.epochs=2", resume=True)
    assert (out / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()
    assert load_run(out)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("detector.latent=4",), "only training.epochs may change"),
        (("training.epochs=2", "training.batch_size=4"), "changed: training\\)"),
        (("training.epochs=2", "split.seed=1"), "the training images"),
    ],
    ids=str,
)
def test_nothing_but_the_epochs_may_change(place: Path, run: Path, tmp_path: Path, changes, words) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    before = content(out)
    with pytest.raises(ResumeError, match=words):
        train(place, out, *changes, resume=True)
    assert content(out) == before


def test_the_same_images_may_lie_elsewhere_and_others_may_not(place: Path, run: Path, longer: Path, tmp_path: Path) -> None:
    out, images = Path(shutil.copytree(run, tmp_path / "run")), tmp_path / "restored"
    images.mkdir()
    for path in (place / "images").iterdir():
        shutil.copyfile(path, images / path.name)  # written anew, at another time
    one = np.asarray(Image.open(images / "00.png")).copy()
    one[18, 18] -= 9
    Image.fromarray(one).save(images / "00.png")
    with pytest.raises(ResumeError, match="changed: the training images"):
        train(place, out, "training.epochs=2", resume=True, data=images)
    shutil.copyfile(place / "images/00.png", images / "00.png")
    train(place, out, "training.epochs=2", resume=True, data=images)
    assert (out / "weights.safetensors").read_bytes() == (longer / "weights.safetensors").read_bytes()


def test_a_finished_run_with_nothing_to_add_is_left_alone(place: Path, run: Path, capsys) -> None:
    before = content(run)
    assert train(place, run, resume=True) == run
    assert content(run) == before
    assert "is finished. Train it for longer with --resume --set training.epochs=N" in capsys.readouterr().err
    with pytest.raises(MedoodError, match=r"--overwrite, or train it for longer with --resume"):
        train(place, run)


def test_without_a_checkpoint_a_run_is_smaller_and_final(place: Path, tmp_path: Path) -> None:
    out = train(place, tmp_path / "run", keep_checkpoint=False)
    assert not (out / "checkpoint").exists()
    with pytest.raises(MedoodError, match="holds no checkpoint to go on from"):
        train(place, out, "training.epochs=2", resume=True)
    svm = train(place, tmp_path / "svm", "detector={name: one_class_svm}")
    assert not (svm / "checkpoint").exists()
    with pytest.raises(MedoodError, match="no phase that learns in epochs"):
        train(place, svm, "detector={name: one_class_svm}", "training.epochs=2", resume=True)


def test_a_damaged_memory_of_what_was_begun_is_a_sentence(place: Path, tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            train(place, tmp_path / "run")
    weights = "checkpoint/training.safetensors"
    cut = (tmp_path / "run" / weights).read_bytes()[:-9]
    for name, damaged in (("training.json", b"{}"), (weights, cut), (weights, b"")):
        before = (tmp_path / "run" / name).read_bytes()
        (tmp_path / "run" / name).write_bytes(damaged)
        with pytest.raises(ResumeError, match=r"damaged.*(--overwrite|without --resume)"):
            train(place, tmp_path / "run", resume=True)
        (tmp_path / "run" / name).write_bytes(before)
    train(place, tmp_path / "run", resume=True)


@pytest.mark.parametrize(("how", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_stopping_has_an_exit_status_and_says_how_to_go_on(place: Path, tmp_path: Path, monkeypatch, how, status) -> None:
    stop_after(monkeypatch, 2, how)
    arguments = ["train", str(place / "recipe.yaml"), "--data", str(place / "images"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(cli.app, [*arguments, "--cache", str(place / "cache")])
    assert result.exit_code == status
    assert "--resume goes on from there" in result.output
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM is not sent on Windows")
def test_sigterm_ends_a_training_as_ctrl_c_does(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "medood", "train", str(place / "recipe.yaml"), "--data", str(place / "images"), "--out", str(out)]
    command += ["--device", "cpu", "--cache", str(place / "cache"), "--set", "training.epochs=5000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 3/5000" in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
    assert process.returncode == 143
    assert "--resume goes on from there" in rest
    assert "Traceback" not in rest
    assert not list(out.rglob(".*")), "no lock and nothing half-written is left"
    done = read_history(out)
    assert done[-1].number >= 3
    found = train(place, out, f"training.epochs={{generator: {done[-1].number + 1}, discriminator: 1}}", resume=True)
    assert load_run(found)
