"""`medood train` in several processes: one run, one voice, and one end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes_started import finished, start

from medood.core.errors import MedoodError, ResumeError, TrainingError
from medood.core.running import processes
from medood.recipe.loading import load_recipe
from medood.recipe.run import load_run
from medood.tasks.training.train import train_recipe
from medood.training.processes import check_number, joined

RECIPE = """
source: {name: folder, root: nowhere}
transforms: {name: grey_image, size: 32}
detector: {name: autoencoder, width: 2, latent: 4}
training: {epochs: 2, batch_size: 5, tensorboard: false}
split: {held_out: 0.4}
calibration: {false_alarm_rate: 0.2}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("processes"), np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(20):
        image = 100 + 40 * rng.random((36, 36)) + 3 * number
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{number:02d}.png")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


def command(place: Path, out: Path, *more: str) -> list[str]:
    given = ["--data", str(place / "images"), "--out", str(out), "--cache", str(place / "cache")]
    return ["-m", "medood", "train", str(place / "recipe.yaml"), *given, *more]


def test_a_run_of_two_processes_is_that_of_one(place: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *command(place, tmp_path / "two")]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{tmp_path / 'two'}\n"
    assert ended.stderr.count("Run saved in") == 1
    recipe = load_recipe(place / "recipe.yaml")
    train_recipe(recipe, tmp_path / "one", data=place / "images", device="cpu", cache=place / "cache", progress=False)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}
    one, two = (load_run(tmp_path / name) for name in ("one", "two"))
    assert two.provenance["processes"] == 2
    assert two.calibration["image"]["scores"] == pytest.approx(one.calibration["image"]["scores"], rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("benchmark", "rsna"), "Error: torchrun starts several processes for `medood train` only: start `medood benchmark` without it."),
        (("train", "no_such_recipe"), "Error: no_such_recipe: "),
    ],
)
def test_what_all_processes_find_wrong_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    ends = finished(start(["-m", "medood", *arguments]))
    assert [status for status, *_ in ends] == [2, 2]
    said = "".join(errors for *_, errors in ends)
    assert said.count("Error") == 1, said
    assert said.startswith(sentence)


@pytest.mark.parametrize(
    ("images", "batch_size", "sentence"), [(3, 8, "4 processes and only 3 training images"), (9, 3, "4 processes, and a batch has 3")]
)
def test_every_process_has_an_image_of_a_batch(monkeypatch: pytest.MonkeyPatch, images: int, batch_size: int, sentence: str) -> None:
    monkeypatch.setattr(processes, "count", lambda: 4)
    check_number(4, 4)
    with pytest.raises(TrainingError, match=sentence):
        check_number(images, batch_size)


def test_all_stop_when_one_is_asked_to_and_go_on_in_the_same_number(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    started = start(command(place, out, "--set", "training.epochs=100000"))
    while all(each.poll() is None for each in started) and not ((out / "history.jsonl").is_file() and (out / "history.jsonl").read_text()):
        time.sleep(0.1)
    started[1].send_signal(signal.SIGTERM)
    (first, _, said), (second, _, also_said) = finished(started)
    assert (first, second) == (2, 143)
    assert (said + also_said).count("What was finished is on disk") == 1, said + also_said
    recipe = load_recipe(place / "recipe.yaml", ["training.epochs=100000"])
    given = {"data": place / "images", "device": "cpu", "cache": place / "cache", "progress": False, "resume": True}
    with pytest.raises(ResumeError, match="number of processes was 2, is 1"):
        train_recipe(recipe, out, **given)
    epochs = json.loads((out / "history.jsonl").read_text().splitlines()[-1])["epoch"] + 1
    ends = finished(start(command(place, out, "--resume", "--set", f"training.epochs={epochs}")))
    assert [status for status, *_ in ends] == [0, 0], ends
    assert not list(out.glob(".part-*"))


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("auto", r"4 processes .* has 3 GPU\(s\).* --nproc-per-node 3"),
        ("mps", "only one device 'mps'"),
        ("cuda:1", "only one device 'cuda:1'"),
    ],
)
def test_each_process_needs_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch, device: str, sentence: str) -> None:
    for name, value in {"RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(MedoodError, match=sentence), joined(device):
        pass
