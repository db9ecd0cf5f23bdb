"""Training and scoring of f-AnoGAN and Patch-GAN against what the processor allows: their own convolutions, plain and alone.

    python measurements/adversarial_speed.py [RECIPE ...] [--size 64] [--threads 1] [--rounds 3] [--precision float32 bfloat16]

One iteration of every phase as the trainer runs it, and one batch of scoring, at the recipe's widths and batch sizes on generated images;
of f-AnoGAN's first phase an iteration of the critic, whose generator learns in every fifth.
Every convolution and matrix product of the iteration is written down as it is computed, gradients included; each of them is then timed in
the same run as a plain forward call of torch with the same shapes, layout and number type. Their sum is the floor. Columns:

images/s        of the iteration, the median of all rounds
GFLOP           an image, multiplications and additions of the convolutions and matrix products
at the floor    images/s if there were nothing but these, forward, at the speed that torch has for them
ratio           time of the iteration to the floor; the aim is at most 1.5
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from statistics import median
from typing import Any

import torch
from detector_costs import generated_images
from ignite.engine import Engine
from measuring import table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from medood.core.detector import Batch, Detector
from medood.core.running.memory import keep_freed_memory
from medood.recipe.building import build_detector
from medood.recipe.loading import load_recipe
from medood.recipe.recipe import Recipe
from medood.scoring.inference import score_images
from medood.training.losses import Losses
from medood.training.update import step_function
from medood.transforms.pipeline import augmentation

RECIPES = "isic_fanogan", "isic_patchgan", "brats_patchgan_crop32"
_aten = torch.ops.aten
_LONG = 2.0  # seconds, beside which warming up is nothing
_Call = tuple[Any, ...]


class Written(TorchDispatchMode):
    """Counts the convolutions and matrix products inside the block by their shapes; a gradient counts as the forward call that it is of."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[_Call] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if function is _aten.convolution.default:
            image, weight, _, stride, padding, dilation, transposed, left, groups = args
            self._convolution(1, image, weight, stride, padding, dilation, transposed, left, groups)
        elif function is _aten.convolution_backward.default:
            _, image, weight, _, stride, padding, dilation, transposed, left, groups, wanted = args
            self._convolution(wanted[0] + wanted[1], image, weight, stride, padding, dilation, transposed, left, groups)
        elif function in (_aten.mm.default, _aten.addmm.default):
            one, other = args[-2:]
            self.calls["product", one.dtype, tuple(one.shape), tuple(other.shape)] += 1
        return function(*args, **(kwargs or {}))

    def _convolution(self, times: int, image: Tensor, weight: Tensor, *how: Any) -> None:
        still = tuple(tuple(each) if isinstance(each, list) else each for each in how)
        self.calls["convolution", image.dtype, tuple(image.shape), tuple(weight.shape), still] += times


class Unwatched(Losses):
    """Losses that nobody reads."""

    def watch(self, optimizer: str, loss: Tensor) -> None:
        pass


def plain(call: _Call) -> tuple[Callable[[], Tensor], float]:
    """A forward call of these shapes, and its multiplications and additions."""
    kind, dtype, first, second, *rest = call
    one, other = torch.randn(first, dtype=torch.float32).to(dtype), torch.randn(second, dtype=torch.float32).to(dtype)
    if kind == "product":
        return lambda: torch.mm(one, other), 2 * prod(first) * second[1]
    (stride, padding, dilation, transposed, left, groups) = rest[0]
    one, other = (each.contiguous(memory_format=torch.channels_last) for each in (one, other))
    how = (stride, padding, dilation, transposed, left, groups)
    made = torch.convolution(one, other, None, *how)
    at = prod(first[2:]) if transposed else prod(made.shape[2:])  # every place takes part with the whole kernel of every channel
    return lambda: torch.convolution(one, other, None, *how), 2 * first[0] * at * prod(second)


def seconds(function: Callable[[], Any], least: float = 0.0) -> float:
    """Of one call: the median of three, or of as many as take `least` seconds together; of the first alone if it took long."""
    found = [_timed(function)]
    if found[0] < _LONG:
        found = [_timed(function)]
        while len(found) < 3 or sum(found) < least:
            found.append(_timed(function))
    return median(found)


def _timed(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@torch.no_grad()
def floor(calls: Counter[_Call]) -> tuple[float, float]:
    """Seconds and multiplications and additions of so many forward calls."""
    total = work = 0.0
    for call, count in calls.items():
        function, each = plain(call)
        total, work = total + count * seconds(function, 0.05), work + count * each
    return total, work


def iterations(recipe: Recipe, images: Tensor) -> dict[str, tuple[Callable[[], Any], int]]:
    """What is timed by its name, each with the number of its images."""
    torch.manual_seed(0)
    detector = build_detector(recipe)
    if recipe.training.channels_last:
        detector.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    found = {}
    for phase in detector.phases():
        found[f"training, {phase.name}"] = _training(recipe, detector, phase, images), recipe.training.batch_size
    return found | {"scoring": (_scoring(recipe, detector, images), recipe.scoring.batch_size)}


def _training(recipe: Recipe, detector: Detector, phase: Any, images: Tensor) -> Callable[[], None]:
    batch, cpu = images[: recipe.training.batch_size], torch.device("cpu")
    step = step_function(phase, recipe.training, cpu, Unwatched(phase.name))
    augment, hidden = augmentation(recipe.augment), None
    if augment:
        hidden = torch.stack([augment({"image": image}, number)["hidden"] for number, image in enumerate(batch)])
    shown, engine = Batch(batch, hidden), Engine(lambda *_: None)

    def run() -> None:
        detector.train()
        phase.begin()
        step(engine, shown)

    return run


def _scoring(recipe: Recipe, detector: Detector, images: Tensor) -> Callable[[], None]:
    size = recipe.scoring.batch_size

    def run() -> None:
        detector.mark_fitted()
        score_images(detector, images[:size], size, torch.device("cpu"))

    return run


def rows(name: str, recipe: Recipe, rounds: int) -> list[dict[str, str]]:
    found, size = [], max(recipe.training.batch_size, recipe.scoring.batch_size)
    for what, (run, images) in iterations(recipe, generated_images(recipe, size)).items():
        with Written() as written:
            run()
        taken = median(seconds(run) for _ in range(rounds))
        least, work = floor(written.calls)
        found.append(
            {
                "recipe": name,
                "what": what,
                "arithmetic": recipe.training.precision,
                "images/s": f"{images / taken:.1f}",
                "GFLOP": f"{work / images / 1e9:.2f}",
                "at the floor": f"{images / least:.1f}",
                "ratio": f"{taken / least:.2f}",
            }
        )
        print(found[-1], flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    for name, value in (("size", 64), ("threads", 1), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    size, found = options.size, []
    for name in options.recipes:
        for precision in options.precision:
            spec = [
                f"transforms.size=[{size}, {size}]",
                "transforms.channels=1",
                *(f"{part}.precision={precision}" for part in ("training", "scoring")),
            ]
            found += rows(name, load_recipe(name, [*spec, *options.changes]), options.rounds)
    print(f"\nImages of {size} x {size}, {options.threads} thread(s)\n\n{table(found)}")


if __name__ == "__main__":
    main()
