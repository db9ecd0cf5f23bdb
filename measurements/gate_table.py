"""Which images the gates of runs refuse, and which they must not: AUROC of `domain_p`, and shares that are refused.

    python measurements/gate_table.py DATA [--out DIR] [--only RUN ...] [--most N] [--features NAME]

Trains what is not in OUT yet, with the detector `intensity`, because a gate does not depend on the detector but for two questions: one
that only its own scores can answer, and one about the features that it works on. With --features efficientnet_lite0 it is `knn` on these.
DATA/splits/NAME.csv says which images are trained on and which are tested (columns path, group, label, part); of BraTS one subject is
left out, in `brats` the first, in `brats-2` to `brats-6` the others, with their own slices alone and the mean of all six at the end.
Shifts of a run's own images are made in the files' values, before the transforms. At most N images of a set are looked at, drawn at
random. Nothing here was used to fit a gate.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from PIL import Image

import medood
from medood.core.errors import InputError
from medood.core.volume import Entry, Index, Source, Volume
from medood.data.input_facts import input_facts
from medood.data.opening import open_source
from medood.features.interface import describer
from medood.gate.fitting import Features
from medood.gate.gate import Gate, Judgement
from medood.metrics.ranking import auroc, curve
from medood.recipe.run import is_run, load_run, recipe_of
from medood.transforms.pipeline import Pipeline

Change = Callable[[Volume], Volume]
_FOLDS = {"brats" if number == 1 else f"brats-{number}": f"brats_2013_pat000{number}_1" for number in range(1, 7)}
"""Who is left out."""


def table(name: str, **chosen: str) -> dict[str, Any]:
    return {"source": ("folder", {"csv": f"splits/{name}.csv"}), "chosen": chosen}


SETS: dict[str, dict[str, Any]] = {
    "fashion": {"source": ("idx", {}), "below": "fashion-mnist"},
    "mr-sag-192": {"source": ("folder", {}), "below": "dicom/mr-sag-192"},
    "lung CT": {"source": ("folder", {}), "below": "lung_ct_gtv"},
    "open-ms": {"source": ("folder", {}), "below": "open-ms", "named": "flair"},
    "BraTS": {"source": ("brats", {}), "below": "brats"},
    "skin": table("isic2017", part="test", label="0"),
    "radiographs": table("rsna256", part="test", label="0"),
    "kermany": table("kermany", part="train", label="0"),
    "nih1000": table("nih1000", part="train", label="0"),
    "shenzhen": table("shenzhen_tb", part="train", label="0"),
    "photographs": {"source": ("folder", {})},  # where `main` puts them
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/gate_table"))
    parser.add_argument("--only", nargs="*", default=list(RUNS))
    parser.add_argument("--most", type=int, default=250)
    parser.add_argument("--features")
    options = parser.parse_args()
    SETS["photographs"]["below"] = str(photographs(options.out / "photographs"))
    for name in options.only:
        rows = measure(name, options.data, options.out / name, options.most, options.features)
        (options.out / f"{name}.json").write_text(json.dumps(rows, indent=1))
        show(name, rows)
    if set(_FOLDS) <= set(options.only):
        folds = [json.loads((options.out / f"{name}.json").read_text()) for name in _FOLDS]
        show("mean of the six folds of BraTS", [averaged(rows) for rows in zip(*folds, strict=False)])


def averaged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of a set, as the mean over the folds."""
    assert len({row["set"] for row in rows}) == 1
    means = {key: float(np.mean([row[key] for row in rows])) for key in ("refused", "auroc", "ms")}
    return rows[0] | means | {"images": sum(row["images"] for row in rows)}


def measure(name: str, data: Path, folder: Path, most: int, features: str | None) -> list[dict[str, Any]]:
    plan = RUNS[name]
    if not is_run(folder):
        medood.train(recipe(name, plan, features), data=data / plan["below"] if "below" in plan else data, out=folder)
    pipeline = Pipeline(recipe_of(folder).transforms)
    gate = Gate.load(folder, pipeline.spec)
    assert gate is not None
    describe = describer(load_run(folder).detector, torch.device("cpu")) if gate.needs_features else None
    rows: list[dict[str, Any]] = []
    normal = np.zeros(0)
    for title, (images, change, keep) in plan["sets"].items():
        judged, seconds, refused = judge(gate, describe, pipeline, images, data, most, change, keep)
        p = np.array([one.p for one in judged] + [0.0] * refused)
        if not len(p):
            print(f"{title}: no image could be looked at")
            continue
        normal = p if not rows else normal
        reasons = Counter(one.reason for one in judged if one.refused).most_common(1)
        rows.append(
            {
                "set": title,
                "images": len(p),
                "refused": float(np.mean([one.refused for one in judged] + [True] * refused)),
                "auroc": float(auroc(curve(-np.concatenate([normal, p]), np.repeat([0, 1], [len(normal), len(p)])))),
                "reason": reasons[0][0] if reasons else "other colours than the run takes" if refused else "",
                "ms": 1000 * seconds / max(len(judged), 1),
            }
        )
    return rows


def recipe(name: str, plan: dict[str, Any], features: str | None) -> dict[str, Any]:
    source, parameters = plan["source"]
    detector = {"detector": {"name": "knn"}, "features": {"name": features}} if features else {"detector": {"name": "intensity"}}
    return detector | {
        "summary": f"gate of {name}",
        "source": {"name": source, "root": "data", **parameters},
        "transforms": plan["transforms"],
    }


def judge(
    gate: Gate,
    describe: Features | None,
    pipeline: Pipeline,
    images: dict[str, Any],
    data: Path,
    most: int,
    change: Change | None,
    keep: int | None,
) -> tuple[list[Judgement], float, int]:
    """Judgements of the images with the label `keep` or of all, the gate's seconds of a core for them, and how many images the transforms
    do not take."""
    found: list[Judgement] = []
    seconds, refused = 0.0, 0
    for volume in volumes(images, data, most):
        try:
            prepared = pipeline.prepare(change(volume) if change else volume)
        except InputError as error:
            refused += error.code == "channels"
            continue
        started = time.process_time()
        look = gate.look(prepared.images, describe(prepared.images) if describe and len(prepared.images) else None)
        judged = gate.judge(look, input_facts(volume, prepared), pipeline.preparation.plane != "native")
        seconds += time.process_time() - started
        found += [one for one, label in zip(judged, prepared.labels, strict=True) if keep is None or label == keep]
    return found, seconds, refused


def photographs(folder: Path) -> Path:
    """The colour pictures that come with scikit-image, whole and in quarters, as files; the full path of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket"):
        picture = getattr(skimage.data, name)()
        rows, columns = (length // 2 for length in picture.shape[:2])
        quarters = [picture[top : top + rows, left : left + columns] for top in (0, rows) for left in (0, columns)]
        for number, each in enumerate([picture, *quarters]):
            Image.fromarray(each).save(folder / f"{name}-{number}.png")
    return folder.resolve()


def volumes(images: dict[str, Any], data: Path, most: int) -> Iterator[Volume]:
    name, parameters = images["source"]
    source: Source = open_source(name, data / images.get("below", ""), **parameters)
    entries = chosen(source.index(), images, data)
    order = np.random.default_rng(0).permutation(len(entries))[:most]
    for number in sorted(order.tolist()):
        try:
            yield source.read(entries[number])
        except InputError as error:
            print(f"left out: {error.code}")


def chosen(index: Index, images: dict[str, Any], data: Path) -> list[Entry]:
    if "chosen" not in images:
        return [entry for entry in index.entries if images.get("named", "") in entry.id.lower()]
    with (data / images["source"][1]["csv"]).open(newline="") as file:
        wanted = {row["path"] for row in csv.DictReader(file) if all(row[key] == value for key, value in images["chosen"].items())}
    return [entry for entry in index.entries if entry.id in wanted]


def upside_down(volume: Volume) -> Volume:
    return replace(volume, image=np.ascontiguousarray(volume.image[:, :, ::-1]))


def turned(volume: Volume) -> Volume:
    image = np.ascontiguousarray(np.rot90(volume.image, 1, (2, 3)))
    return replace(volume, image=image, geometry=replace(volume.geometry, shape=image.shape[1:]), mask=None, padding=None)


def inverted(volume: Volume) -> Volume:
    """Bright for dark; what has the lowest value, if that is much of the image, is air and stays."""
    image = volume.image
    air = image == image.min()
    made = np.percentile(image, 0.1) + np.percentile(image, 99.9) - image
    made = np.where(air, image, made) if air.mean() > 0.3 else made
    return replace(volume, image=np.clip(made, image.min(), image.max()).astype(np.float32))


def noisy(volume: Volume) -> Volume:
    """Gaussian noise of 0.3 deviations of the image."""
    image = volume.image
    air = image == image.min() if (image == image.min()).mean() > 0.3 else np.zeros(image.shape, bool)
    noise = np.random.default_rng(0).normal(0, 0.3 * image[~air].std(), image.shape)
    made = np.clip(np.where(air, image, image + noise), image.min(), image.max())
    return replace(volume, image=made.astype(np.float32))


def own(
    test: dict[str, Any], labels: tuple[int | None, int | None] = (None, None), anomalous: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The run's own normal test images first, then its anomalous ones, then the normal ones with what may happen to them."""
    sets: dict[str, Any] = {"normal": (test, None, labels[0]), "anomalous": (anomalous or test, None, labels[1])}
    shifts = {"upside down": upside_down, "turned": turned, "inverted": inverted, "noisy": noisy}
    return sets | {title: (test, change, labels[0]) for title, change in shifts.items()}


def others(*names: str) -> dict[str, Any]:
    return {name: (SETS[name], None, None) for name in names}


def tested(name: str) -> dict[str, Any]:
    """A table's test images of both classes, and shifts of the normal ones."""
    return own(table(name, part="test", label="0"), anomalous=table(name, part="test", label="1"))


def fold(subject: str) -> dict[str, Any]:
    """Of BraTS without a subject, whose slices are then tested."""
    one = {"source": ("brats", {"only": (subject,)}), "below": "brats"}
    return {"source": ("brats", {"exclude": [subject]}), "below": "brats", "transforms": "brats_flair", "sets": own(one, (0, 1))}


RUNS: dict[str, dict[str, Any]] = {
    "lgg_flair": {
        "source": ("folder", {"csv": "splits/lgg_flair.csv"}),
        "transforms": "head_picture",
        "sets": tested("lgg_flair") | others("BraTS", "mr-sag-192", "lung CT", "radiographs"),
    },
    "rsna256": {
        "source": ("folder", {"csv": "splits/rsna256.csv"}),
        "transforms": "grey_image",
        "sets": tested("rsna256") | others("kermany", "nih1000", "skin", "fashion", "mr-sag-192", "BraTS", "shenzhen"),
    },
    "kermany": {
        "source": ("folder", {"csv": "splits/kermany.csv"}),
        "transforms": "grey_image",
        "sets": tested("kermany") | others("nih1000", "skin", "fashion", "mr-sag-192", "BraTS"),
    },
    "isic2017": {
        "source": ("folder", {"csv": "splits/isic2017.csv"}),
        "transforms": "isic_image",
        "sets": tested("isic2017") | others("radiographs", "mr-sag-192", "fashion", "photographs"),
    },
} | {name: fold(subject) for name, subject in _FOLDS.items()}
RUNS["brats"]["sets"] |= others("mr-sag-192", "radiographs", "skin", "fashion", "open-ms")


def show(name: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{name}\n| set | images | AUROC | refused | usual reason |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['set']} | {row['images']} | {row['auroc']:.3f} | {100 * row['refused']:.1f} % | {row['reason']} |")
    print(f"{np.mean([row['ms'] for row in rows]):.1f} ms of a core for the gate of an image", flush=True)


if __name__ == "__main__":
    main()
