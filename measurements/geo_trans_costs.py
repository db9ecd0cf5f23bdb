"""What GeoTrans costs: an epoch against the loop of the authors' code, and the fit of its Dirichlet distributions.

    python measurements/geo_trans_costs.py [--images 8] [--side 32] [--width 4] [--threads 1] [--rounds 3] [--fitted-on 5000]

An epoch is every image under each of the 72 transforms, once on average, in batches of 128, by the same network and optimizer on the same
generated images. In turns, in a process each:

reference          all copies are made first, as the authors' code makes them (scipy), float32; then batches of them
medood, float32    transforms drawn for each batch
medood, bfloat16   the same as the recipes train on processors that have it: channels last, bfloat16 where it does no harm

"memory" is the most that a process held beyond what it held before the epoch. The reference's copies of a whole training set follow from
their number: 72 x images x channels x side x side x 4 bytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from measuring import in_fresh_process, peak_mib, table

if TYPE_CHECKING:
    from torch import Tensor

    from medood.detectors.self_supervised.geo_trans import GeoTrans

_BATCH = 128


def detector_and_images(side: int, width: int, images: int, threads: int) -> tuple[GeoTrans, Tensor]:
    import torch

    from medood.core.detector import ImageSpec
    from medood.detectors.self_supervised.geo_trans import GeoTrans

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return GeoTrans(ImageSpec(1, side, side), width=width), torch.rand(images, 1, side, side)


def copies(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All images under all transforms, and the numbers of those."""
    from scipy.ndimage import affine_transform

    step, made = images.shape[-1] // 4, []
    for image in images:
        for flip, down, across, turns in np.ndindex(2, 3, 3, 4):
            changed = image[:, :, ::-1] if flip else image
            shift = (0, -step, step)[down], (0, -step, step)[across]
            if any(shift):
                changed = np.stack([affine_transform(each, np.eye(2), shift, order=0, mode="reflect") for each in changed])
            made.append(np.rot90(changed, turns, (1, 2)).copy())
    return np.stack(made), np.tile(np.arange(72), len(images))


def reference(*how: int) -> tuple[float, float]:
    """Seconds and MiB of an epoch."""
    import torch
    from torch.nn.functional import cross_entropy

    detector, images = detector_and_images(*how)
    detector.train()
    optimizer, before, started = detector.phases()[0].optimizers["classifier"], peak_mib() or 0.0, time.perf_counter()
    made, numbers = map(torch.from_numpy, copies(images.numpy()))
    for chosen in torch.randperm(len(made)).split(_BATCH):
        loss = cross_entropy(detector.head(detector.network(2 * made[chosen] - 1)), numbers[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started, (peak_mib() or 0.0) - before


def medood(rounded: bool, *how: int) -> tuple[float, float]:
    """Seconds and MiB of an epoch."""
    import torch

    from medood.core.detector import Batch

    detector, images = detector_and_images(*how)
    detector.train()
    if rounded:
        detector.to(memory_format=torch.channels_last)
    phase, before, started = detector.phases()[0], peak_mib() or 0.0, time.perf_counter()
    for chosen in torch.randint(len(images), (72 * len(images),)).split(_BATCH):
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded, cache_enabled=False):
            phase.step(Batch(images[chosen]), phase.update)
    return time.perf_counter() - started, (peak_mib() or 0.0) - before


def fit(images: int) -> float:
    """Seconds to fit 72 distributions of 72 probabilities, on one thread, to those of so many images by a fairly sure classifier."""
    import torch

    from medood.nets.densities.dirichlet import fit_dirichlet, log_probabilities

    torch.set_num_threads(1)
    random, sums = torch.Generator().manual_seed(0), torch.zeros(2, 72, 72, dtype=torch.float64)
    logits = [2 * torch.randn(images, 72, generator=random) for _ in range(72)]
    started = time.perf_counter()
    for number, each in enumerate(logits):
        each[:, number] += 8
        logs = log_probabilities(each)
        sums[:, number] = torch.stack([logs.exp().mean(0), logs.mean(0)])
    alpha = fit_dirichlet(*sums)
    assert bool(alpha.isfinite().all())
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("images", 8), ("side", 32), ("width", 4), ("threads", 1), ("rounds", 3), ("fitted-on", 5000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    how = options.side, options.width, options.images, options.threads
    ways: dict[str, Callable[..., tuple[float, float]]] = {
        "reference": reference,
        "medood, float32": partial(medood, False),
        "medood, bfloat16": partial(medood, True),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            found[name].append(in_fresh_process(way, *how))
    ratios = {name: median(own[0] / other[0] for own, other in zip(found[name], found["reference"], strict=True)) for name in ways}
    rows = [
        {
            "epoch": name,
            "seconds": f"{median(seconds for seconds, _ in taken):.1f}",
            "of the reference's": f"{ratios[name]:.2f}",
            "memory": f"{median(memory for _, memory in taken):.0f} MiB",
        }
        for name, taken in found.items()
    ]
    print(table(rows))
    print(f"\nDirichlet distributions, 72 of 72 on {options.fitted_on} images: {in_fresh_process(fit, options.fitted_on):.2f} s")


if __name__ == "__main__":
    main()
