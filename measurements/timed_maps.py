"""What detectors with maps reach in a given time on one device: BraTS, leaving one subject out, and sets of grey pictures.

    python measurements/timed_maps.py DATA [--out timed_maps.json] [--sets brats rsna256] [--detectors intensity dae synthetic]
        [--seconds 40] [--size 128] [--width 32] [--device cpu] [--precision float32] [--folds 6] [--set DETECTOR.KEY=VALUE ...]

DATA holds brats (a folder for each subject), and for every other set a table splits/SET.csv (path, group, label, part). A network learns
for `--seconds` in each fold, with batches of 16 that are never read from disk, at a learning rate that falls along a cosine of the time
gone by; nothing chooses an epoch. OUT is written after every fold, so that nothing is lost when the time is up; finished folds of an OUT
that is there are not repeated.

Slices of a fold are those of the subject left out with more than half of its largest area of brain; lesion-free ones are negative, those
with more than 50 tumour voxels positive, others left out. All folds are ranked together. Beside each detector stand the same numbers of
the grey values themselves. AUROC is of the detector's own image score; "pooled" of its map smoothed in 3-D (Gaussian of 2 mm, normalised
inside the brain) in the mean of the 200 hottest voxels of a slice at least 3 voxels inside. Pixel average precisions are of the map in the
brain as it is and smoothed so. For pictures, pooled is the mean of the hottest 5 % of the map smoothed by an 80th of its side.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import wait_for
from scipy.ndimage import binary_erosion, gaussian_filter
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from medood.core.detector import Batch, Detector, ImageSpec
from medood.core.files.atomic import write_json
from medood.core.volume import Source
from medood.data.opening import open_source
from medood.recipe.catalogue import detectors
from medood.recipe.literals import parse_value
from medood.recipe.loading import load_preparation
from medood.transforms.pipeline import Pipeline, Prepared

BATCH = 16
HOTTEST = 200
PRIORS: dict[tuple[str, str], dict[str, Any]] = {
    ("brats", "intensity"): {"reference": "value", "side": "higher"},
    ("brats", "synthetic"): {"anomalies": ["blobs"], "largest": 0.6},
}
"""As in the recipes: tumours on FLAIR are large and bright."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A volume as images, and what is true of it on its native grid: `mask` and `brain` bool (slices, rows, columns)."""

    name: str
    prepared: Prepared
    mask: np.ndarray
    brain: np.ndarray
    spacing: tuple[float, ...]

    @property
    def images(self) -> Tensor:
        return torch.from_numpy(self.prepared.images)

    @property
    def scored_brain(self) -> np.ndarray:
        """The brain in the slices that have a map."""
        where = np.zeros_like(self.brain)
        where[self.prepared.slices] = self.brain[self.prepared.slices]
        return where


def subjects(source: Source, size: int) -> tuple[ImageSpec, list[Subject]]:
    """All volumes of a source whose lesions are drawn."""
    pipeline = Pipeline(load_preparation("brats_flair").model_copy(update={"size": (size, size)}))
    found = []
    for entry in source.index().entries:
        volume = source.read(entry)
        shown = np.asarray(volume.image[0])
        mask = np.zeros(shown.shape, bool) if volume.mask is None else np.asarray(volume.mask) > 0
        spacing = tuple(reversed(volume.geometry.spacing))
        found.append(Subject(entry.id, pipeline.prepare(volume), mask, shown != shown.flat[0], spacing))
    return pipeline.spec, found


def pictures(source: Source, size: int) -> tuple[ImageSpec, Tensor, Tensor, np.ndarray]:
    """Normal training images, test images and the labels of the latter."""
    pipeline = Pipeline(load_preparation("grey_image").model_copy(update={"size": (size, size)}))
    images: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    labels = []
    for entry in source.index().entries:
        images[str(entry.part)].append(pipeline.prepare(source.read(entry)).images)
        if entry.part == "test":
            labels.append(entry.label)
    train, test = (torch.from_numpy(np.concatenate(images[part])) for part in ("train", "test"))
    return pipeline.spec, train, test, np.array(labels)


def built(name: str, kind: str, spec: ImageSpec, options: argparse.Namespace) -> Detector:
    """A detector with fresh weights that follow from the torch seed."""
    parameters: dict[str, Any] = {} if name == "intensity" else {"width": options.width}
    parameters |= PRIORS.get((kind, name), {})
    for change in options.changes:
        key, _, value = change.partition("=")
        if key.startswith(f"{name}."):
            parameters[key.partition(".")[2]] = parse_value(value)
    card = detectors()[name]
    return card.load()(spec, **card.parameters.model_validate(parameters).model_dump())


def fit(detector: Detector, images: Tensor, seconds: float, device: str, precision: str) -> int:
    """Train for about so long, or one pass where a phase does not learn; returns the number of steps."""
    detector.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.to(device)
    steps = 0
    for phase in detector.phases():
        learns = bool(phase.optimizers)
        detector.train(learns)
        with torch.no_grad():
            phase.begin()
        rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in phase.optimizers.items()}
        started, share = time.perf_counter(), 0.0
        while share < 1:
            for numbers in torch.randperm(len(images)).split(BATCH):
                for name, optimizer in phase.optimizers.items():
                    optimizer.param_groups[0]["lr"] = rates[name] * (1 + math.cos(math.pi * share)) / 2
                batch = Batch(images[numbers.to(device)].contiguous(memory_format=torch.channels_last))
                with torch.set_grad_enabled(learns), torch.autocast(torch.device(device).type, torch.bfloat16, precision == "bfloat16"):
                    phase.step(batch, lambda loss, name: _update(phase.optimizers[name], loss))  # noqa: B023
                steps += 1
                wait_for(device)
                share = (time.perf_counter() - started) / seconds
                if learns and share >= 1:
                    break
            if not learns:
                break
        with torch.no_grad():
            phase.finish()
    detector.eval()
    detector.fitted_.fill_(True)
    return steps


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def scored(detector: Detector, images: Tensor, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Image scores (n,) and maps (n, height, width)."""
    found = [detector.score(part.to(device)) for part in images.split(BATCH)]
    heat = torch.cat([scores.map for scores in found if scores.map is not None])
    return torch.cat([scores.image for scores in found]).cpu().numpy(), heat[:, 0].cpu().numpy()


def smoothed(heat: np.ndarray, inside: np.ndarray, sigma: Sequence[float]) -> np.ndarray:
    """Gaussian mean of the values inside alone; 0 outside."""
    weight = gaussian_filter(inside.astype(np.float32), sigma)
    return np.where(inside, gaussian_filter(np.where(inside, heat, 0).astype(np.float32), sigma) / np.maximum(weight, 1e-6), 0)


def hottest(heat: np.ndarray, inside: np.ndarray, count: int) -> float:
    """Mean of the `count` highest values inside, of all when there are fewer; the lowest value of the map when there are none."""
    values = np.sort(heat[inside])[-count:]
    return float(values.mean()) if len(values) else float(heat.min())


def slice_rows(subject: Subject, image_scores: np.ndarray, heat: np.ndarray) -> dict[str, list[float]]:
    """Numbers of every slice that counts, of a map on the native grid."""
    smooth = smoothed(heat, subject.scored_brain, [2.0 / step for step in subject.spacing])
    core = np.stack([binary_erosion(slice_, iterations=3) for slice_ in subject.brain])
    chosen = subject.prepared.labels >= 0
    numbers = subject.prepared.slices[chosen]
    return {
        "label": subject.prepared.labels[chosen].tolist(),
        "score": image_scores[chosen].tolist(),
        "pooled": [hottest(smooth[number], core[number], HOTTEST) for number in numbers],
    }


def voxels(subject: Subject, heat: np.ndarray, sigma: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Values and truth of the brain's voxels in the slices that are scored."""
    where = subject.scored_brain
    values = heat if sigma is None else smoothed(heat, where, sigma)
    return values[where].astype(np.float32), subject.mask[where]


def fold(name: str, spec: ImageSpec, all_subjects: list[Subject], left_out: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train without one subject, and the rows and pixel numbers of that one."""
    others = [subject for number, subject in enumerate(all_subjects) if number != left_out]
    normal = torch.cat([subject.images[torch.from_numpy(subject.prepared.labels == 0)] for subject in others])
    subject = all_subjects[left_out]
    if name == "grey values":
        steps, heat = 0, subject.prepared.images[:, 0]
        scores = np.array([np.percentile(image[image != spec.background], 99) for image in heat])
    else:
        torch.manual_seed(0)
        detector = built(name, "brats", spec, options)
        steps = fit(detector, normal, options.seconds, options.device, options.precision)
        scores, heat = scored(detector, subject.images, options.device)
    native = subject.prepared.way.restore(heat, subject.prepared.slices)
    precisions = []
    for sigma in (None, [2.0 / step for step in subject.spacing]):
        values, truth = voxels(subject, native, sigma)
        precisions.append(float(average_precision_score(truth, values)) if truth.any() else None)
    return {
        "set": "brats",
        "detector": name,
        "fold": subject.name,
        "steps": steps,
        "images": len(normal),
        "pixel_ap": precisions[0],
        "pixel_ap_smooth": precisions[1],
        "rows": slice_rows(subject, scores, native),
    }


def whole(name: str, kind: str, data: tuple[ImageSpec, Tensor, Tensor, np.ndarray], options: argparse.Namespace) -> dict[str, Any]:
    """Train on the normal pictures of a set, and the scores of its test images."""
    spec, train, test, labels = data
    if name == "grey values":
        steps, heat = 0, test[:, 0].numpy()
        scores = heat.mean((1, 2))
    else:
        torch.manual_seed(0)
        detector = built(name, kind, spec, options)
        steps = fit(detector, train, options.seconds, options.device, options.precision)
        scores, heat = scored(detector, test, options.device)
    everywhere = np.ones(heat.shape[1:], bool)
    pooled = [hottest(smoothed(image, everywhere, [spec.width / 80] * 2), everywhere, everywhere.size // 20) for image in heat]
    rows = {"label": labels.tolist(), "score": scores.tolist(), "pooled": pooled, "mean": heat.mean((1, 2)).tolist()}
    return {"set": kind, "detector": name, "fold": "test", "steps": steps, "images": len(train), "rows": rows}


def summary(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line for each set and detector: its folds ranked together, pixel numbers as means of the folds."""
    lines = []
    for kind, name in dict.fromkeys((result["set"], result["detector"]) for result in results):
        found = [result for result in results if (result["set"], result["detector"]) == (kind, name)]
        rows = {key: [value for result in found for value in result["rows"][key]] for key in found[0]["rows"]}
        labels = rows.pop("label")
        line: dict[str, Any] = {"set": kind, "detector": name, "folds": len(found), "steps": found[0]["steps"]}
        if len(set(labels)) == 2:
            line |= {f"auroc of {key}": round(float(roc_auc_score(labels, values)), 3) for key, values in rows.items()}
        for key in ("pixel_ap", "pixel_ap_smooth"):
            values = [result[key] for result in found if result.get(key) is not None]
            line |= {key: round(float(np.mean(values)), 3)} if values else {}
        lines.append(line)
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("timed_maps.json"))
    parser.add_argument("--sets", nargs="*", default=["brats", "rsna256"])
    parser.add_argument("--detectors", nargs="*", default=["intensity", "dae", "synthetic"])
    parser.add_argument("--seconds", type=float, default=40.0, help="of training, in each fold")
    for name, value in (("size", 128), ("width", 32), ("folds", 6)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="DETECTOR.KEY=VALUE")
    options = parser.parse_args(arguments)
    how = {key: getattr(options, key) for key in ("seconds", "size", "width", "device", "precision", "changes")}
    known = json.loads(options.out.read_text()) if options.out.is_file() else {"how": how, "results": []}
    if known["how"] != how:
        parser.error(f"{options.out} was measured with {known['how']}: choose another --out")
    results = known["results"]
    done = {(result["set"], result["detector"], result["fold"]) for result in results}

    def note(kind: str, name: str, part: str, measure: Callable[[], dict[str, Any]]) -> None:
        if (kind, name, part) not in done:
            started = time.perf_counter()
            results.append(measure() | {"seconds": round(time.perf_counter() - started, 1)})
            write_json(options.out, {"how": how, "summary": summary(results), "results": results})

    if "brats" in options.sets:
        spec, all_subjects = subjects(open_source("brats", options.data / "brats"), options.size)
        for name in ["grey values", *options.detectors]:
            for number, subject in enumerate(all_subjects[: options.folds]):
                note("brats", name, subject.name, lambda name=name, number=number: fold(name, spec, all_subjects, number, options))
    for kind in (kind for kind in options.sets if kind != "brats"):
        data = pictures(open_source("folder", options.data, csv=f"splits/{kind}.csv"), options.size)
        for name in ["grey values", *options.detectors]:
            note(kind, name, "test", lambda name=name, kind=kind, data=data: whole(name, kind, data, options))
    for line in summary(results):
        print(line)


if __name__ == "__main__":
    main()
