"""Leave one BraTS subject out: train on the lesion-free slices of the others, score the one, and evaluate all folds together.

    python measurements/brats_leave_one_out.py DATA RECIPE [--out DIR] [--set KEY=VALUE ...]

Writes OUT/scores.csv and OUT/maps of all subjects, each scored by the run that never saw it, and OUT/evaluation. Scores of different runs
are pooled as they are: they are in the same units, but each run has its own threshold, and decisions come from it. Finished folds are
kept, so the script can be started again after an interruption.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path


def medood(*arguments: object) -> None:
    command = [sys.executable, "-m", "medood", *map(str, arguments)]
    status = subprocess.run(command).returncode
    if status:
        sys.exit(f"{' '.join(command[2:])} ended with status {status}")


def fold(data: Path, recipe: str, subject: str, out: Path, changes: list[str]) -> float:
    """Train without `subject` and score it; returns the seconds of training and scoring."""
    folder, started = out / "folds" / subject, time.perf_counter()
    if (folder / "scores.json").is_file() and json.loads((folder / "scores.json").read_text())["complete"]:
        return json.loads((folder / "seconds.json").read_text())
    options = [word for change in [*changes, f"source.exclude=[{subject}]"] for word in ("--set", change)]
    medood("train", recipe, "--data", data, "--out", folder / "run", "--overwrite", *options)
    one = folder / "images" / subject
    shutil.copytree(data / subject, one, dirs_exist_ok=True)
    results = ("--out", folder / "scores.csv", "--maps", folder / "maps", "--maps-with", "plain")
    medood("score", folder / "run", one.parent, "--source", "brats", *results, "--overwrite")
    seconds = time.perf_counter() - started
    (folder / "seconds.json").write_text(json.dumps(seconds))
    return seconds


def gather(out: Path, subjects: list[str]) -> None:
    """One scores.csv and one maps folder from those of the folds."""
    (out / "maps").mkdir(parents=True, exist_ok=True)
    tables, lines, header = [], [], {}
    for number, subject in enumerate(subjects):
        folder = out / "folds" / subject
        tables.append((folder / "scores.csv").read_text(encoding="utf-8").splitlines())
        header = json.loads((folder / "scores.json").read_text())
        for line in (folder / "maps" / "maps.jsonl").read_text().splitlines() if (folder / "maps" / "maps.jsonl").is_file() else []:
            entry = json.loads(line)
            for kind in ("map", "plain"):
                name = f"{number}_{entry[kind]}"
                shutil.copy(folder / "maps" / entry[kind], out / "maps" / name)
                entry[kind] = name
            lines.append(json.dumps(entry | {"not_examined": None}))
    shutil.copy(out / "folds" / subjects[0] / "maps" / "maps.json", out / "maps" / "maps.json")
    (out / "maps" / "maps.jsonl").write_text("\n".join(lines) + "\n" if lines else "")
    (out / "scores.csv").write_text("\n".join([tables[0][0], *(row for table in tables for row in table[1:])]) + "\n", encoding="utf-8")
    (out / "scores.json").write_text(json.dumps(header | {"threshold": None, "run": "one per subject"}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("--out", type=Path, default=Path("runs/brats_loo"))
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args()
    subjects = sorted(path.name for path in options.data.iterdir() if path.is_dir())
    seconds = [fold(options.data, options.recipe, subject, options.out, options.changes) for subject in subjects]
    gather(options.out, subjects)
    labels = options.out / "labels.csv"
    medood("labels", "brats", options.data, "--out", labels)
    maps = ("--maps", options.out / "maps") if (options.out / "maps" / "maps.jsonl").stat().st_size else ()
    medood("evaluate", options.out / "scores.csv", "--labels", labels, *maps, "--out", options.out / "evaluation")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"training and scoring: {sum(seconds):.0f} s for {len(subjects)} folds; peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
