"""What frozen features cost: images per second and thread of every extractor, and time and memory of a PatchCore on many slices.

    python measurements/feature_costs.py [--extractors NAME ...] [--size 256] [--images 64] [--slices 1000 4000] [--threads 1] \\
        [--set detector.bank=4000]

Extractors have their defaults and random weights where they have weights, for these take as long as any; images are noise, one at a time
as medood computes them on a CPU. PatchCore is that of the recipe `default_grey` with random weights, on generated images that are in
memory, in a process of its own. What it says it will take is printed before it starts. Columns:

features   seconds for the features of all slices, which any other detector on the same layers would find on disk
bank       seconds to choose the bank
score      images/s, features included
memory     most that the process held, resident; the interpreter with torch alone takes the last row
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from measuring import ImagesInMemory, in_fresh_process, peak_mib, table

from medood.recipe import catalogue
from medood.recipe.loading import load_recipe
from medood.recipe.recipe import Recipe

BATCH = 16


def speed(name: str, size: int, images: int, threads: int) -> dict[str, Any]:
    """Images per second of an extractor, the shapes of its layers, and peak memory."""
    import torch

    from medood.core.detector import ImageSpec

    torch.set_num_threads(threads)
    card = catalogue.features()[name]
    weights = {"weights": "random"} if "weights" in card.parameters.model_fields else {}
    extractor = card.load()(ImageSpec(1, size, size), **weights).to(memory_format=torch.channels_last)
    noise = torch.rand(images, 1, size, size, generator=torch.Generator().manual_seed(0))
    extractor(noise[:2])  # warms up
    started = time.perf_counter()
    extractor(noise)
    seconds = time.perf_counter() - started
    return {"speed": images / seconds, "shapes": extractor.shapes, "size": extractor.size, "memory": peak_mib()}


def patch_core(recipe: Recipe, slices: int, threads: int) -> dict[str, Any]:
    """Seconds of both parts of fitting, images per second of scoring, and peak memory."""
    import torch

    from medood.core.detector import Batch
    from medood.recipe.building import build_detector

    torch.set_num_threads(threads)
    detector = build_detector(recipe).to(memory_format=torch.channels_last).eval()
    noise = torch.rand(64, *detector.spec.shape, generator=torch.Generator().manual_seed(0))
    images = ImagesInMemory(noise)  # again and again: what counts is how many pass
    (phase,) = detector.phases()
    print(f"{slices} slices: {detector.forecast(slices)}", flush=True)
    with torch.no_grad():
        phase.begin()
        started = time.perf_counter()
        for first in range(0, slices, BATCH):
            numbers = [number % len(images) for number in range(first, min(first + BATCH, slices))]
            phase.step(Batch(images.gather(numbers) * (1 - first / (2 * slices))), lambda loss, name: None)
        collected = time.perf_counter()
        phase.finish()
        solved = time.perf_counter()
        detector.mark_fitted()
        for batch in noise.split(BATCH):
            detector.score(batch)
        scored = time.perf_counter()
    return {
        "features": collected - started,
        "bank": solved - collected,
        "score": len(noise) / (scored - solved),
        "memory": peak_mib(),
    }


def torch_alone() -> float | None:
    import torch

    torch.zeros(1)
    return peak_mib()


def speed_row(name: str, found: dict[str, Any]) -> dict[str, str]:
    return {
        "features": name,
        "input": " x ".join(map(str, found["size"])),
        "layers": ", ".join(f"{channels} on {height} x {width}" for channels, height, width in found["shapes"]),
        "images/s": f"{found['speed']:.1f}",
        "memory": mib(found["memory"]),
    }


def patch_core_row(slices: int, found: dict[str, Any]) -> dict[str, str]:
    return {
        "slices": f"{slices:,}",
        "features": f"{found['features']:.0f} s",
        "bank": f"{found['bank']:.0f} s",
        "score": f"{found['score']:.1f} images/s",
        "memory": mib(found["memory"]),
    }


def mib(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0f} MiB"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("size", 256), ("images", 64), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--extractors", nargs="*", default=[name for name in catalogue.features() if name != "columns"])
    parser.add_argument("--slices", type=int, nargs="*", default=[1000, 4000])
    parser.add_argument("--set", action="append", default=[], dest="changes")
    options = parser.parse_args(arguments)
    size, threads = options.size, options.threads
    print(f"{options.images} images of {size} x {size} x 1, {threads} thread(s)\n")
    if options.extractors:
        rows = [speed_row(name, in_fresh_process(speed, name, size, options.images, threads)) for name in options.extractors]
        print(f"{table(rows)}\n", flush=True)
    recipe = load_recipe("default_grey", [f"transforms.size=[{size}, {size}]", "features.weights=random", *options.changes])
    rows = [patch_core_row(slices, in_fresh_process(patch_core, recipe, slices, threads)) for slices in options.slices]
    rows.append(dict.fromkeys(rows[0], "") | {"slices": "*torch alone*", "memory": mib(in_fresh_process(torch_alone))})
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
