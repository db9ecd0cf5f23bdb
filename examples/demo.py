"""The main job on generated images, start to end: train on normal volumes, score a DICOM series, maps, and a scene for 3D Slicer.

    python examples/demo.py [--out demo]

Every command is printed before it runs, so that it can be repeated by hand.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def medood(*arguments: object) -> None:
    """Run a medood command with this Python, and stop with its exit status if it fails."""
    words = [str(argument) for argument in arguments]
    print("\n$ medood " + " ".join(words), flush=True)
    started = time.perf_counter()
    status = subprocess.run([sys.executable, "-m", "medood", *words], cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}).returncode
    if status:
        sys.exit(f"medood {words[0]} ended with status {status}")
    print(f"  ({time.perf_counter() - started:.0f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "demo")
    options = parser.parse_args()
    out = options.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    images, run, scores, maps = out / "images", out / "run", out / "scores.csv", out / "maps"
    started = time.perf_counter()
    medood("phantoms", images)
    medood("train", "demo", "--data", images / "nifti", "--out", run)
    medood("inspect", images / "dicom")
    medood("score", run, images / "dicom", "--out", scores, "--maps", maps, "--maps-with", "plain")
    medood("evaluate", scores, "--labels", images / "labels.csv", "--maps", maps, "--out", out / "evaluation")
    medood("overlay", maps, "--out", out / "overlay")
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Look at:")
    for path, what in (
        (scores, "a score, p-value and decision per slice, and for the series"),
        (maps, "the maps on the grid of the series, as NRRD"),
        (out / "overlay", "open the .mrb in 3D Slicer with a double click; the .png shows the hottest slices"),
        (out / "evaluation", "how well the lesion was found: evaluation.json, roc.png, scores.png"),
    ):
        print(f"  {path}: {what}")


if __name__ == "__main__":
    main()
