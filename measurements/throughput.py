"""What scoring takes beyond its parts: `medood score` against decoding alone and the network alone, by format, on the same images.

    python measurements/throughput.py [--images 96] [--side 512] [--threads 1 2] [--rounds 5] [--kinds dicom jpeg ...]
        [--detector autoencoder | patch_core]

Trains an autoencoder for 128 x 128 pixels for a moment, or a PatchCore on EfficientNet-Lite0 (224 x 224, random weights), writes generated
images in every format, and scores them in a process that may use so many processors. In each round and in turns, every part of these is
timed:

decode   reading and preparing the images as scoring does, and nothing else
network  the detector on the prepared images, in the batches of scoring, and nothing else
score    all of it: decoded ahead in threads, scored, judged by the gate, compared with the images of training, written to scores.csv

"ratio" is score / max(decode, network), which cannot be lower than (decode + network) / max(decode, network), in brackets, where both parts
have all processors at work. "CPU" is the processor's seconds of score over those of decode and network together: what the rest costs,
whatever else runs on the machine. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measuring import table

from medood.core.running.waiting_threads import let_waiting_threads_sleep

RECIPE = """
source: {name: folder, root: nowhere}
transforms: {name: grey_image, size: 128}
training: {epochs: 1, batch_size: 16, tensorboard: false}
split: {held_out: 0.4}
calibration: {false_alarm_rate: 0.2}
"""
DETECTORS = {
    "autoencoder": "detector: {name: autoencoder, width: 16}\n",
    "patch_core": "detector: {name: patch_core}\nfeatures: {name: efficientnet_lite0, weights: random}\n",
}
SYNTAXES = {"dicom": "1.2.840.10008.1.2.1", "dicom_j2k": "1.2.840.10008.1.2.4.90", "dicom_rle": "1.2.840.10008.1.2.5"}
KINDS = (*SYNTAXES, "dicom_series", "nifti_series", "jpeg")


def picture(number: int, side: int) -> np.ndarray:
    """(side, side) in 0..1: a bright disc with smooth texture, which compresses as a photograph does."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    waves = sum(np.sin(random.uniform(2, 25) * x + random.uniform(2, 25) * y + random.uniform(0, 6)) for _ in range(6)) / 12
    return np.clip(np.where(x**2 + y**2 < 0.8, 0.6 + 0.3 * waves, 0.1) + 0.01 * random.normal(size=(side, side)), 0, 1)


def write(kind: str, folder: Path, images: int, side: int) -> None:
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))  # writes DICOM
    from dicom_writer import write_image, write_series
    from PIL import Image

    pixels = [(1000 * picture(number, side)).astype(np.uint16) for number in range(images)]
    if kind == "jpeg":
        for number, each in enumerate(pixels):
            Image.fromarray((each // 4).astype(np.uint8)).save(folder / f"{number:04d}.jpg", quality=90)
    elif kind == "nifti_series":
        import nibabel

        nibabel.save(nibabel.Nifti1Image(np.stack(pixels, 2).astype(np.int16), np.eye(4)), folder / "volume.nii.gz")
    elif kind == "dicom_series":
        write_series(folder, np.stack(pixels), np.diag([1.0, 1.0, 1.5, 1.0]), modality="MR")
    else:
        for number, each in enumerate(pixels):
            write_image(folder / f"{number:04d}.dcm", each, syntax=SYNTAXES[kind], modality="MR", patient=f"phantom-{number}")


def timed(what: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the clock, and of the processors."""
    started = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def measure(run_folder: Path, images: Path, threads: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each part in every round; the first round, which warms everything up, does not count."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import torch

    from medood.core.console import Console
    from medood.core.running.memory import keep_freed_memory
    from medood.data.opening import open_source
    from medood.data.training_images import SeenImages
    from medood.recipe.run import load_run
    from medood.scoring.rows import Scorer
    from medood.scoring.stream import Outcome, read_ahead, score_index
    from medood.scoring.table import ScoreTable

    keep_freed_memory()
    torch.set_num_threads(threads)
    run, source = load_run(run_folder), open_source("folder", images)
    scorer, index = Scorer(run, torch.device("cpu"), None, SeenImages(run)), source.index()
    prepared = np.concatenate([item.state.prepared.images for item in read_ahead(source, scorer.pipeline, index.entries)])

    def network() -> None:
        for start in range(0, len(prepared), scorer.batch_size):
            scorer.score(prepared[start : start + scorer.batch_size])

    def decode() -> None:
        for _ in read_ahead(source, scorer.pipeline, index.entries, scorer.batch_size):
            pass

    def score() -> None:
        with tempfile.TemporaryDirectory() as folder:
            rows = ScoreTable(Path(folder) / "scores.csv", run.calibration["parts"], resume=False)
            score_index(scorer, source, index, rows, None, Outcome(), Console(quiet=True))
            rows.close()

    found: dict[str, list[tuple[float, float]]] = {"decode": [], "network": [], "score": []}
    for number in range(rounds + 1):
        for part in (decode, network, score):
            taken = timed(part)
            if number:
                found[part.__name__].append(taken)
    return found


def row(kind: str, threads: int, images: int, found: dict[str, list[list[float]]]) -> dict[str, str]:
    clock, cpu = ({part: [each[which] for each in times] for part, times in found.items()} for which in range(2))
    parts = list(zip(clock["decode"], clock["network"], clock["score"], strict=True))
    ratio = median(score / max(decode, network) for decode, network, score in parts)
    least = median((decode + network) / max(decode, network) for decode, network, _ in parts)
    overhead = median(score / (decode + network) for decode, network, score in zip(*cpu.values(), strict=True))
    speeds = {part: f"{images / median(clock[part]):.0f}" for part in clock}
    return {"kind": kind, "processors": f"{threads}"} | speeds | {"ratio": f"{ratio:.2f} ({least:.2f})", "CPU": f"{overhead:.2f}"}


def make_run(folder: Path, detector: str) -> Path:
    from medood.recipe.loading import load_recipe
    from medood.tasks.training.train import train_recipe

    (folder / "normal").mkdir()
    write("jpeg", folder / "normal", 40, 160)
    (folder / "recipe.yaml").write_text(RECIPE + DETECTORS[detector], encoding="utf-8")
    recipe = load_recipe(folder / "recipe.yaml", [])
    return train_recipe(recipe, folder / "run", data=folder / "normal", device="cpu", cache=folder / "cache", progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--detector", default="autoencoder", choices=DETECTORS)
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        run, images, threads = arguments.inside
        print(json.dumps(measure(Path(run), Path(images), int(threads), arguments.rounds)))
        return
    let_waiting_threads_sleep()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = make_run(folder, arguments.detector)
        for kind in arguments.kinds:
            (folder / kind).mkdir()
            write(kind, folder / kind, arguments.images, arguments.side)
            for threads in arguments.threads:
                inside = [
                    sys.executable,
                    __file__,
                    "--rounds",
                    f"{arguments.rounds}",
                    "--inside",
                    f"{run}",
                    f"{folder / kind}",
                    f"{threads}",
                ]
                ended = subprocess.run(inside, check=True, stdout=subprocess.PIPE, text=True)
                rows.append(row(kind, threads, arguments.images, json.loads(ended.stdout.splitlines()[-1])))
                print(rows[-1], file=sys.stderr)
    print(table(rows))


if __name__ == "__main__":
    main()
