"""What a guard says of a classifier of radiographs (normal, or with an opacity) when it gets images of other kinds.

    python measurements/guarded_classifier.py DATA [--out DIR] [--seeds 0 1 2] [--set KEY=VALUE ...]

DATA as for small_sets. A small classifier learns 600 normal radiographs of rsna256 and half of those with an opacity; the other half and
the normal ones of the test part are what it should know. What it should not know: radiographs of children (Kermany), of another hospital
(Shenzhen), small ones (NIH, 64 x 64), and FLAIR slices of heads. Prints the AUROC of each score of `classifier_guard`, of the run's gate,
and of the trivial features in the better of both directions, for the two sorts put together against each of the others; means of the seeds.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean

import numpy as np
from measuring import table

from medood.metrics.ranking import auroc, curve

OTHERS = {"children": "kermany", "another hospital": "shenzhen_tb", "small": "nih1000", "FLAIR slices": "lgg_flair"}
SCORES = ("softmax", "energy", "odin", "mahalanobis")
PLAIN = ("plain_mean", "plain_std", "plain_p99", "plain_sharpness")
Row = dict[str, str]


def rows_of(data: Path, name: str) -> list[Row]:
    with (data / "splits" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def known(data: Path) -> list[Row]:
    """What the classifier should know, with its class: opacities in training and in the test by turns."""
    rows = rows_of(data, "rsna256")
    opacities = [row["group"] for row in rows if row["label"] == "1"]
    learned = set(opacities[::2])
    return [
        {
            "path": row["path"],
            "group": row["group"],
            "label": "0",
            "part": "train" if row["group"] in learned else row["part"],
            "class": "normal" if row["label"] == "0" else "opacity",
        }
        for row in rows
    ]


def gather(data: Path, file: Path, rows: list[Row]) -> None:
    """The table of these rows, and copies of their images beside it, where a table's images have to be."""
    for row in rows:
        (file.parent / row["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / row["path"], file.parent / row["path"])
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, ("path", "group", "label", "part", "class"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def medood(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "medood", *map(str, arguments)], check=True)


def scored(file: Path) -> dict[str, np.ndarray]:
    with file.open(newline="", encoding="utf-8") as opened:
        rows = [row for row in csv.DictReader(opened) if row["status"] == "ok"]
    names = [*(f"part_{name}" for name in SCORES), *PLAIN]
    found = {name: np.array([float(row[name]) for row in rows]) for name in names}
    return found | {"gate": -np.array([float(row["domain_p"]) for row in rows])}


def told_apart(usual: np.ndarray, other: np.ndarray) -> float:
    return float(auroc(curve(np.concatenate([usual, other]), np.repeat([0, 1], [len(usual), len(other)]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/guarded_classifier"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args()
    place = options.out / "images"
    place.mkdir(parents=True, exist_ok=True)
    gather(options.data, place / "known.csv", known(options.data))
    for name in OTHERS.values():
        rows = [row for row in rows_of(options.data, name) if row["part"] == "test"]
        gather(options.data, place / f"{name}.csv", [{**row, "label": "1", "part": "", "class": ""} for row in rows])
    found: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        run, changes = options.out / f"run-{seed}", ["source={name: folder, csv: known.csv}", f"seed={seed}", *options.changes]
        settings = [word for change in changes for word in ("--set", change)]
        medood("train", "guard_classifier", "--data", place, "--out", run, "--overwrite", *settings)
        tables = {name: options.out / f"{name}-{seed}.csv" for name in ("known", *OTHERS.values())}
        for name, out in tables.items():
            part = ("--part", "test") if name == "known" else ()
            medood("score", run, place, "--table", f"{name}.csv", *part, "--out", out, "--overwrite")
        usual = scored(tables["known"])
        for shown, name in OTHERS.items():
            for column, values in scored(tables[name]).items():
                area = told_apart(usual[column], values)
                found.setdefault(column, {}).setdefault(shown, []).append(max(area, 1 - area) if column in PLAIN else area)
    rows = [
        {"": column.removeprefix("part_")} | {name: f"{mean(areas):.3f}" for name, areas in each.items()} for column, each in found.items()
    ]
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
