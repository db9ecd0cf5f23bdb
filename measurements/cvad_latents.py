"""What the size of CVAD's latent space costs: the authors' generator, the paper's and medood's default, one after the other.

    python measurements/cvad_latents.py [KIND ...] [--size 256] [--steps 5] [--threads 2] [--device cpu]

Kinds are "released" (the layout of the authors' code, in plain torch and torch's own memory layout: 697.78 M weights for 256 x 256 x 1),
"paper" (branch_latent: paper, 295.39 M) and "spatial" (medood's default, 26.89 M); the weights are counted against these numbers. Measured
is the generator alone, in a process of its own for training and one for scoring:

training        images per second of whole steps with Adam, median of `--steps` batches of 32 after one that warms up
scoring         images per second of L_G, in batches of 32 and one by one
memory          most that the process held, torch and MONAI (half a GiB) included; with --device cuda: most that was allocated on the GPU

"released" needs 16 GB of free memory for training. The `x` after a number is how many times as much it is as that of "released".
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from measuring import in_fresh_process, peak_mib, table, wait_for

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 32
MILLIONS = {"released": 697.78, "paper": 295.39, "spatial": 26.89}
"""Weights of the generators for 256 x 256 x 1."""


def released(size: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The generator of the authors' code: the branch has no convolution of its own, so its linear layers see 128 maps of an eighth of the
    side, and lead to 2048 latent variables."""
    import torch
    from torch import nn

    def down(a: int, b: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)

    def up(a: int, b: int) -> tuple[nn.Module, ...]:
        return nn.ConvTranspose2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)

    def last() -> nn.Sequential:
        return nn.Sequential(*up(64, 32), *up(32, 16), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid())

    inner, deepest = (64, size // 8, size // 8), (256, size // 32, size // 32)
    features, deep = 64 * (size // 8) ** 2, 256 * (size // 32) ** 2
    net = nn.ModuleDict(
        {
            "shallow": nn.Sequential(*down(1, 16), *down(16, 32), *down(32, 64)),
            "deep": nn.Sequential(*down(64, 128), *down(128, 256), nn.Flatten()),
            "mean1": nn.Linear(deep, 512),
            "logvar1": nn.Linear(deep, 512),
            "context": nn.Sequential(nn.Linear(512, deep), nn.Unflatten(1, deepest), *up(256, 128), *up(128, 64)),
            "mean2": nn.Linear(2 * features, 2048),
            "logvar2": nn.Linear(2 * features, 2048),
            "opened": nn.Sequential(nn.Linear(2048, features), nn.Unflatten(1, inner)),
            "coarse": last(),
            "detail": last(),
        }
    )

    def drawn(mean: Tensor, logvar: Tensor) -> Tensor:
        return mean + torch.randn_like(mean) * (logvar / 2).exp() if net.training else mean

    def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
        return (mean.square() + logvar.exp() - 1 - logvar).sum(1) / 2

    def losses(image: Tensor) -> Tensor:
        shallow = net["shallow"](image)
        deep = net["deep"](shallow)
        first = net["mean1"](deep), net["logvar1"](deep)
        context = net["context"](drawn(*first))
        both = torch.cat([context, shallow], 1).flatten(1)
        second = net["mean2"](both), net["logvar2"](both)
        copy = (net["coarse"](context) + net["detail"](net["opened"](drawn(*second)))) / 2
        return (image - copy).square().mean((1, 2, 3)) + (divergence(*first) + divergence(*second)) / image[0].numel()

    return net, losses


def in_medood(kind: str, size: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """medood's generator in the memory layout that its trainer uses."""
    import torch

    from medood.core.detector import ImageSpec
    from medood.detectors.adversarial.cvad import CVAD

    detector = CVAD(ImageSpec(1, size, size), branch_latent=kind)
    del detector.discriminator

    def losses(image: Tensor) -> Tensor:
        _, error, kl = detector.generate(image)
        return detector.generator_score(error, kl)

    return detector.to(memory_format=torch.channels_last), losses


def build(kind: str, size: int) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """A generator, and L_G (B,) of images (B, 1, size, size) that it computes."""
    network, losses = released(size) if kind == "released" else in_medood(kind, size)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert size != 256 or round(millions, 2) == MILLIONS[kind], f"{kind} has {millions:.2f} M weights, not {MILLIONS[kind]} M"
    return network, losses


def rate(work: Callable[[], None], images: int, repetitions: int, device: str) -> float:
    """Images per second, from the median of several repetitions after one that warms up."""
    seconds = []
    for _ in range(repetitions + 1):
        started = time.perf_counter()
        work()
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    return images / median(seconds[1:])


def training_cost(kind: str, size: int, steps: int, threads: int, device: str) -> dict[str, float | None]:
    import torch

    torch.set_num_threads(threads)
    network, losses = build(kind, size)
    network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, weight_decay=1e-6)
    images = torch.rand(BATCH, 1, size, size, device=device)

    def step() -> None:
        optimizer.zero_grad()
        losses(images).mean().backward()
        optimizer.step()

    return {"training": rate(step, BATCH, steps, device), "memory": peak_mib(device)}


def scoring_cost(kind: str, size: int, steps: int, threads: int, device: str) -> dict[str, float | None]:
    import torch

    torch.set_num_threads(threads)
    network, losses = build(kind, size)
    network.to(device).eval()
    images = torch.rand(BATCH, 1, size, size, device=device)
    with torch.no_grad():
        speeds = {count: rate(partial(losses, images[:count]), count, steps * BATCH // count, device) for count in (BATCH, 1)}
    return {"batches": speeds[BATCH], "one by one": speeds[1], "memory": peak_mib(device)}


def row(kind: str, training: dict[str, float | None], scoring: dict[str, float | None]) -> dict[str, float | None]:
    return {
        "training images/s": training["training"],
        "scoring images/s": scoring["batches"],
        "one by one": scoring["one by one"],
        "training MiB": training["memory"],
        "scoring MiB": scoring["memory"],
    }


def report(found: dict[str, dict[str, float | None]]) -> str:
    rows = []
    for kind, values in found.items():
        cells = {"generator": kind, "weights at 256 x 256": f"{MILLIONS[kind]} M"}
        for name, value in values.items():
            base = found.get("released", {}).get(name)
            times = f" ({value / base:.2f} x)" if value and base and kind != "released" else ""
            cells[name] = "n/a" if value is None else f"{value:.1f}{times}"
        rows.append(cells)
    return table(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(MILLIONS), metavar="KIND")
    for name, value in (("size", 256), ("steps", 5), ("threads", os.cpu_count())):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    if unknown := set(options.kinds) - set(MILLIONS):
        parser.error(f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(MILLIONS)}")
    found, how = {}, (options.size, options.steps, options.threads, options.device)
    for kind in options.kinds:
        training, scoring = (in_fresh_process(cost, kind, *how) for cost in (training_cost, scoring_cost))
        found[kind] = row(kind, training, scoring)
        print({kind: found[kind]}, flush=True)
    print(f"\n{options.size} x {options.size} x 1, {options.threads} thread(s), {options.device}\n\n{report(found)}")


if __name__ == "__main__":
    main()
