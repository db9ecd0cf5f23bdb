"""Images a second by engine and number of processes, of generated DICOM and JPEG files, and what an engine costs.

    python measurements/engines.py [--files 2000] [--processes 1 2] [--rounds 3] [--slices 20]

Trains a small run (an autoencoder on 64 x 64 pixels) on generated images, writes `files` single-slice DICOM files, `slices` to a series,
and as many JPEG files, all of 256 x 256 pixels, and scores each kind by each engine: local, and Dask with every number of processes, each
of one thread. Every scoring is a command of its own, all engines take their turn in every round, and the table has medians.

images/s        of the scoring alone, without starting processes and looking for files: what counts for an archive
seconds in all  of the command, which starts Python, the libraries and the engine: what counts for a few images
ratio           images/s of the engine to those of the local engine in the same round; below 1 with one process it is what the engine costs
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from measuring import table
from PIL import Image
from scoring_scale import write_series

RECIPE = """
summary: a small autoencoder, to measure how fast it scores
source: {name: folder, root: nowhere}
transforms: {name: grey_image, size: [64, 64]}
detector: {name: autoencoder, width: 16, latent: 32}
training: {epochs: 1, tensorboard: false}
split: {held_out: 0.5}
calibration: {false_alarm_rate: 0.1}
"""


def write_jpegs(folder: Path, count: int, rng: np.random.Generator) -> None:
    """Heads of noise, 256 x 256, 8 bit."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    noise = rng.normal(120, 20, (256, 256))
    for number in range(count):
        pixels = np.where(x**2 + 1.4 * y**2 < 0.8, np.roll(noise, 7 * number), 0).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=90)


def train(folder: Path) -> Path:
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    write_jpegs(folder / "normal", 60, np.random.default_rng(1))
    command = ["train", folder / "recipe.yaml", "--data", folder / "normal", "--out", folder / "run", "--device", "cpu"]
    subprocess.run([sys.executable, "-m", "medood", *map(str, command), "--cache", folder / "cache"], check=True, capture_output=True)
    return folder / "run"


def measure(run: Path, images: Path, out: Path, engine: Sequence[str]) -> tuple[float, float]:
    """Seconds of the scoring, and of the whole command."""
    command = ["score", run, images, "--out", out, "--device", "cpu", "--overwrite", *engine]
    started = time.perf_counter()
    one_thread = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run([sys.executable, "-m", "medood", *map(str, command)], capture_output=True, text=True, check=True, env=one_thread)
    return scoring_seconds(done.stderr), time.perf_counter() - started


def scoring_seconds(said: str) -> float:
    """What the command says that scoring took."""
    found = re.search(r"^Scoring: ([\d.]+) s", said, re.MULTILINE)
    assert found is not None, said
    return float(found[1])


def rows(times: dict[str, dict[str, list[tuple[float, float]]]], count: int) -> list[dict[str, str]]:
    """`times`: by kind of files and by engine, seconds of every round; the engine that comes first is the measure of the others."""
    made = []
    for kind, engines in times.items():
        base = next(iter(engines.values()))
        for engine, rounds in engines.items():
            ratios = [own[0] / other[0] for own, other in zip(base, rounds, strict=True)]
            made.append(
                {
                    "files": kind,
                    "engine": engine,
                    "images/s": f"{count / median(seconds for seconds, _ in rounds):.0f}",
                    "ratio": f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                    "seconds in all": f"{median(whole for _, whole in rounds):.1f}",
                }
            )
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=20)
    options = parser.parse_args(arguments)
    engines = {"local": ["--engine", "local"]}
    engines |= {f"dask, {count}": ["--engine", "dask", "--workers", str(count)] for count in options.processes}
    with tempfile.TemporaryDirectory() as place:
        folder, rng = Path(place), np.random.default_rng(0)
        run = train(folder)
        for number in range(options.files // options.slices):
            write_series(folder / "DICOM" / f"series{number:04d}", number, rng, options.slices)
        write_jpegs(folder / "JPEG", options.files, rng)
        times: dict[str, dict[str, list[tuple[float, float]]]] = {kind: {name: [] for name in engines} for kind in ("DICOM", "JPEG")}
        for _ in range(options.rounds):
            for kind, found in times.items():
                for name, engine in engines.items():
                    found[name].append(measure(run, folder / kind, folder / "scores.csv", engine))
        print(table(rows(times, options.files)))


if __name__ == "__main__":
    main()
