"""How much faster several processes train than one: seconds of an epoch, by number of processes and size of the batch.

    python measurements/processes.py [--recipe rsna_ae] [--processes 1 2] [--batches 16 64] [--images 256] [--size 64] [--epochs 3]

Trains the detector of the recipe on random images in memory, so that nothing but the training itself is measured, in so many processes of
this machine, each with a GPU of its own or else one thread of the CPU. The median epoch after the first counts; of several phases that
learn, the sum of theirs. "of ideal" is the speed-up over the first number of processes with the same batch, as a share of what as many
more processes could bring.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from measuring import table


def measured(arguments: argparse.Namespace, processes: int, batch: int) -> float:
    """Seconds of an epoch."""
    with tempfile.TemporaryDirectory() as folder:
        given = {**vars(arguments), "batch": batch, "out": folder}
        started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), __file__]
        subprocess.run([*started, "--inside", json.dumps(given)], check=True)
        seconds: dict[str, list[float]] = defaultdict(list)
        for line in (Path(folder) / "history.jsonl").read_text().splitlines():
            epoch = json.loads(line)
            if epoch["learning_rate"]:
                seconds[epoch["phase"]].append(epoch["seconds"])
    return sum(median(each[1:]) for each in seconds.values())


def train_here(given: dict[str, Any]) -> None:
    """As one of the processes."""
    import torch
    from measuring import ImagesInMemory

    from medood.recipe.building import build_detector, image_spec
    from medood.recipe.loading import load_recipe
    from medood.training.processes import joined
    from medood.training.trainer import train
    from medood.transforms.pipeline import augmentation

    size = [f"transforms.size={given['size']}"] if given["size"] else []
    recipe = load_recipe(given["recipe"], [f"training.epochs={given['epochs']}", f"training.batch_size={given['batch']}", *size])
    with joined(given["device"]) as device:
        if device.type == "cpu":
            torch.set_num_threads(1)
        torch.manual_seed(recipe.seed)
        detector, spec = build_detector(recipe), image_spec(recipe)
        images = torch.rand((given["images"], *spec.shape), generator=torch.Generator().manual_seed(0))
        images = ImagesInMemory(spec.low + (spec.high - spec.low) * images)
        plan = recipe.training.model_copy(update={"tensorboard": False})
        none = ImagesInMemory(torch.empty(0, *spec.shape))
        options: dict[str, Any] = {"seed": recipe.seed, "device": device, "augment": augmentation(recipe.augment), "progress": False}
        train(detector, images, none, plan, Path(given["out"]), **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="rsna_ae")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", type=int, default=0, help="side of the images; 0: that of the recipe")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        train_here(arguments.inside)
        return
    rows = []
    for batch in arguments.batches:
        alone = None
        for processes in arguments.processes:
            seconds = measured(arguments, processes, batch)
            alone = alone or seconds
            rate, ideal = arguments.images / seconds, alone / seconds * arguments.processes[0] / processes
            row = {"batch": f"{batch}", "processes": f"{processes}", "seconds": f"{seconds:.2f}", "images/s": f"{rate:.0f}"}
            rows.append(row | {"speed-up": f"{alone / seconds:.2f}", "of ideal": f"{ideal:.0%}"})
    print(table(rows))


if __name__ == "__main__":
    main()
