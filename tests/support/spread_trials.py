"""A small run of a real detector, images to score with it, and what the tests of engines ask of the tables."""

from __future__ import annotations

import csv
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from distributed.diagnostics.plugin import WorkerPlugin
from PIL import Image

from medood.core.console import Console
from medood.recipe.loading import load_recipe
from medood.tasks.training.train import train_recipe

SIZE = 32
RECIPE = """
summary: brightness
source: {name: folder, root: nowhere}
transforms: {name: grey_image, size: [32, 32]}
detector: {name: intensity}
split: {held_out: 0.5}
scoring: {batch_size: 4}
calibration: {false_alarm_rate: 0.1}
training: {tensorboard: false}
"""


def small_run(folder: Path) -> Path:
    """Trained in a second on forty pictures; it scores four images at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    for number in range(40):
        write_picture(folder / "normal" / f"n{number:02d}.png", number)
    recipe = load_recipe(folder / "recipe.yaml")
    train_recipe(recipe, folder / "run", data=folder / "normal", device="cpu", cache=folder / "cache")
    return folder / "run"


def write_picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 40, (SIZE, SIZE), dtype=np.uint8) + np.uint8(chance.integers(40, 120))
    Image.fromarray(pixels).save(path)
    return path


def write_images(folder: Path, pictures: int = 40) -> Path:
    """Pictures, two volumes of six slices, a file that is no image, and one that is cut short."""
    for number in range(pictures):
        write_picture(folder / f"p{number:02d}.png", 100 + number)
    for number in range(2):
        voxels = np.random.default_rng(number).integers(40, 120, (SIZE, SIZE, 6)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), folder / f"volume{number}.nii.gz")
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    whole = (folder / "p00.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


def rows_of(scores: Path) -> list[dict[str, str]]:
    with scores.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same_rows(one: Path, other: Path) -> bool:
    return sorted(one.read_text(encoding="utf-8").splitlines()) == sorted(other.read_text(encoding="utf-8").splitlines())


def counted(scores: Path) -> Counter[str]:
    """How often each row is there: of an image, a slice, a series or a file."""
    return Counter(f"{row['id']} {row['level']} {row['slice']}" for row in rows_of(scores))


def wait_until(true: Any, what: str, seconds: float = 120.0) -> None:
    """Generous, for machines that others use; it says what did not happen."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited for: {what}"
        time.sleep(0.05)


class Quiet(Console):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(text)


class Trouble(WorkerPlugin):
    """Lets the workers of a cluster, also those that are started again, stumble over images by their names.

    poison...  ends the process that reads it;  held...  is read only when there is no file `hold` in `folder`
    Every reading is written into `folder`/readings: process and id.
    """

    name = "trouble"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, worker: Any) -> None:
        from medood.sources.folder import Folder

        whole, folder = getattr(Folder, "whole_read", Folder.read), self.folder

        def read(source: Folder, entry: Any) -> Any:
            with (folder / "readings").open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {entry.id}\n")
            if entry.id.startswith("poison"):
                os._exit(9)
            while entry.id.startswith("held") and (folder / "hold").exists():
                time.sleep(0.05)
            return whole(source, entry)

        Folder.whole_read, Folder.read = whole, read


def readings(folder: Path) -> list[tuple[int, str]]:
    """Process and id of what workers with `Trouble` have read."""
    path = folder / "readings"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(int(pid), name) for pid, _, name in (line.partition(" ") for line in lines)]
