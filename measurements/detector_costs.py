"""Time per epoch, images per second and peak memory of every detector's training and scoring, in one table.

    python measurements/detector_costs.py [RECIPE ...] [--size 64] [--channels 1] [--images 512] [--threads 2] [--device cpu] [--set K=V]

The detectors are those of the isic_* recipes, with their parameters and batch sizes, but on generated images that are in memory. Each is
trained in one process and scored in another. A detector that learns from a contrast gets pasted anomalies; ensembles, detectors of tables
and those that need classes are left out. Columns:

weights             trained parameters; a one-class SVM has none, it keeps images instead
seconds per epoch   of each phase: of its last epoch, as the first one warms up, and of what the phase computes at its end
training images/s   of each phase that learns, in the same order; without validation and checkpoints
memory              most that the process held, resident; with --device cuda most that was allocated on the GPU; "n/a" on Windows. Training
                    includes optimizers, the best epoch's weights and checkpoints. The last row only imports torch and MONAI
scoring images/s    scores, maps and parts, in batches of 16
one by one          the same, one image at a time
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import ImagesInMemory, in_fresh_process, peak_mib, table, wait_for

from medood.recipe.literals import read_literals
from medood.recipe.loading import load_recipe, shipped
from medood.recipe.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from medood.core.detector import Detector


LEFT_OUT = {"ensemble", "goad_affine", "classifier_guard"}


def generated_images(recipe: Recipe, count: int) -> Tensor:
    """Bright discs of many sizes with noise in them, on the lowest value, in the range of the recipe."""
    import torch

    random, plan = torch.Generator().manual_seed(0), recipe.transforms
    height, width = plan.size
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    radius = 0.5 + 0.4 * torch.rand(count, 1, 1, generator=random)
    inside = (x.square() + y.square()).sqrt() < radius
    texture = 0.3 + 0.5 * torch.rand(count, plan.channels, height, width, generator=random)
    return plan.range[0] + (plan.range[1] - plan.range[0]) * texture * inside[:, None]


def training_cost(recipe: Recipe, count: int, threads: int, device: str, weights: Path) -> dict[str, Any]:
    """Seconds per phase, which of the phases learn, peak memory and number of weights; the trained weights go to a file."""
    import torch
    from safetensors.torch import save_file

    from medood.recipe.building import build_detector
    from medood.training.contrast import made_of
    from medood.training.trainer import train
    from medood.transforms.pipeline import augmentation

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    detector = build_detector(recipe)
    samples, finishing = generated_images(recipe, count), _time_the_ends(detector, device)
    images, held_out = ImagesInMemory(samples), ImagesInMemory(samples[: count // 5])
    plan = recipe.training.model_copy(update={"tensorboard": False, "patience": None})
    contrast = made_of("synthetic", images, held_out, detector.spec, 0) if detector.learns_from_contrast else None
    with tempfile.TemporaryDirectory() as folder:
        augment, place = augmentation(recipe.augment), torch.device(device)
        options = {"seed": 0, "device": place, "augment": augment, "contrast": contrast}
        train(detector, images, held_out, plan, Path(folder), progress=False, **options)
        lines = (Path(folder) / "history.jsonl").read_text(encoding="utf-8").splitlines()
    save_file({name: value.cpu().contiguous() for name, value in detector.state_dict().items()}, weights)
    history = {line["phase"]: line for line in map(json.loads, lines)}  # the last epoch of each phase
    return {
        "seconds": {name: line["seconds"] + finishing[name] for name, line in history.items()},
        "learning": [name for name, line in history.items() if line["learning_rate"]],
        "memory": peak_mib(device),
        "weights": sum(parameter.numel() for parameter in detector.parameters()),
    }


def _time_the_ends(detector: Detector, device: str) -> dict[str, float]:
    """Seconds by phase, filled in while the detector trains, of what is not in the history: closed forms are solved at a phase's end."""
    phases, seconds = detector.phases(), {}

    def timed(phase: Any) -> Any:
        finish = phase.finish

        def measured() -> None:
            started = time.perf_counter()
            finish()
            wait_for(device)
            seconds[phase.name] = time.perf_counter() - started

        return measured

    for phase in phases:
        phase.finish = timed(phase)
    detector.phases = lambda: phases
    return seconds


def scoring_cost(recipe: Recipe, count: int, threads: int, device: str, weights: Path, limit: float) -> dict[str, Any]:
    """Images per second in batches of 16 and one by one, and peak memory. Each stops after `limit` seconds."""
    import torch
    from safetensors.torch import load_file

    from medood.recipe.building import build_detector
    from medood.scoring.inference import score_images

    torch.set_num_threads(threads)
    detector = build_detector(recipe)
    detector.load_state_dict(load_file(weights))
    detector.to(device).eval()
    if recipe.training.channels_last:
        detector.to(memory_format=torch.channels_last)
    images, speeds = generated_images(recipe, count), {}
    for size in (16, 1):
        score_images(detector, images[:size], size, torch.device(device))  # warms up
        done, started = 0, time.perf_counter()
        while done < count and time.perf_counter() - started < limit:
            done += len(score_images(detector, images[done : done + size], size, torch.device(device)).image)
        speeds[size] = done / (time.perf_counter() - started)  # scores are in main memory, so the GPU is done
    return {"speeds": speeds, "memory": peak_mib(device)}


def imports_alone(device: str) -> float | None:
    import torch

    import_module("monai.networks.blocks")
    torch.zeros(1, device=device)
    return peak_mib(device)


def row(recipe: Recipe, training: dict[str, Any], scoring: dict[str, Any], count: int) -> dict[str, str]:
    seconds = training["seconds"]
    return {
        "detector": recipe.detector["name"],
        "weights": f"{training['weights'] / 1e6:.2f} M",
        "batch": str(recipe.training.batch_size),
        "seconds per epoch": ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()),
        "training images/s": ", ".join(f"{count / seconds[name]:.0f}" for name in training["learning"]),
        "memory": mib(training["memory"]),
        "scoring images/s": f"{scoring['speeds'][16]:.0f}",
        "one by one": f"{scoring['speeds'][1]:.0f}",
        "scoring memory": mib(scoring["memory"]),
    }


def mib(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0f} MiB"


def recipes_of_all_detectors() -> list[str]:
    """All recipes for skin, and for each detector without one the first recipe that names it."""
    names = {path.stem: read_literals(path)[0]["detector"]["name"] for path in shipped("recipes")}
    chosen = [recipe for recipe in names if recipe.startswith("isic_")]
    covered = {names[recipe] for recipe in chosen} | LEFT_OUT
    for recipe, detector in names.items():
        if detector not in covered:
            chosen.append(recipe)
            covered.add(detector)
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=recipes_of_all_detectors())
    for name, value in (("size", 64), ("channels", 1), ("images", 512), ("epochs", 2), ("threads", os.cpu_count())):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=20.0, help="longest time that scoring is measured")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args(arguments)
    size, count, how = options.size, options.images, (options.threads, options.device)
    spec = [
        f"transforms.size=[{size}, {size}]",
        f"transforms.channels={options.channels}",
        f"training.epochs={options.epochs}",
        "training.warmup_epochs=0",
    ]
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        for name in options.recipes:
            recipe = load_recipe(name, [*spec, *options.changes])
            training = in_fresh_process(training_cost, recipe, count, *how, weights)
            scoring = in_fresh_process(scoring_cost, recipe, count, *how, weights, options.seconds)
            rows.append(row(recipe, training, scoring, count))
            print(rows[-1], flush=True)
    alone = in_fresh_process(imports_alone, options.device)
    rows.append(dict.fromkeys(rows[0], "") | {"detector": "*imports alone*", "memory": mib(alone), "scoring memory": mib(alone)})
    print(f"\n{count} images of {size} x {size} x {options.channels}, {options.threads} thread(s), {options.device}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
