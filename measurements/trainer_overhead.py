"""The trainer's overhead: CVAD's generator trained by a bare torch loop with its images in memory, and by medood; the ratio of both.

    python measurements/trainer_overhead.py [--size 64] [--images 512] [--epochs 3] [--rounds 7] [--threads 1]

Both have the same networks, loss, optimizer, batch size and memory layout. Each round runs both, in turns the one or the other first, and
has a ratio of its own; the table shows the median ratio of all rounds, the lowest and the highest. Rows:

training        the epochs' own `seconds` in history.jsonl: batches, steps, losses, curves; this is the overhead of every iteration
no validation   the whole of `medood.training.trainer.train` without held-out images: with start-up and a checkpoint in every epoch
all of it       the same with validation on a fifth as many images; it and checkpoints weigh less in epochs of more images

"CPU ratio" compares the processor's seconds in all threads, which other work on the machine disturbs less than the clock's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import median

import torch
from measuring import ImagesInMemory, table, wait_for
from torch import Tensor
from torch.optim import Adam

from medood.core.detector import ImageSpec, Phase
from medood.detectors.adversarial.cvad import CVAD
from medood.recipe.recipe import Training
from medood.training.trainer import train


class GeneratorAlone(CVAD):
    def phases(self) -> list[Phase]:
        return super().phases()[:1]


@dataclass(frozen=True)
class Cost:
    """Milliseconds per iteration."""

    clock: float
    processor: float


def new_detector(size: int) -> GeneratorAlone:
    torch.manual_seed(0)
    return GeneratorAlone(ImageSpec(1, size, size))


def bare(images: Tensor, plan: Training, device: str) -> None:
    """What one would write without medood."""
    detector = new_detector(images.shape[-1]).to(device)
    layout = torch.channels_last if plan.channels_last else torch.contiguous_format
    generator = detector.generator.to(memory_format=layout).train()
    optimizer = Adam(generator.parameters(), detector.learning_rate, weight_decay=detector.weight_decay, fused=True)
    assert isinstance(plan.epochs, int)
    for _ in range(plan.epochs):
        for numbers in torch.randperm(len(images)).split(plan.batch_size):
            image = images[numbers].contiguous(memory_format=layout).to(device)
            _, error, kl = detector.generate(image)
            loss = error.mean() + kl.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    wait_for(device)


def with_medood(images: Tensor, held_out: Tensor, plan: Training, device: str) -> float:
    """Returns the seconds that history.jsonl tells of."""
    detector = new_detector(images.shape[-1])
    with tempfile.TemporaryDirectory() as folder:
        parts = ImagesInMemory(images), ImagesInMemory(held_out)
        train(detector, *parts, plan, Path(folder), seed=0, device=torch.device(device), progress=False)
        history = (Path(folder) / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["seconds"] for line in history)


def cost(run: Callable[[], object], iterations: int) -> Cost:
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return Cost((time.perf_counter() - clock) * 1e3 / iterations, (time.process_time() - processor) * 1e3 / iterations)


def one_round(images: Tensor, plan: Training, device: str, bare_first: bool) -> dict[str, Cost]:
    """What every row of the table took."""
    assert isinstance(plan.epochs, int)
    iterations, seconds, found = plan.epochs * -(-len(images) // plan.batch_size), [], {}
    runs: list[tuple[str, Callable[[], object]]] = [
        ("bare loop", lambda: bare(images, plan, device)),
        ("medood, all of it", lambda: seconds.append(with_medood(images, images[: len(images) // 5], plan, device))),
        ("medood, no validation", lambda: with_medood(images, images[:0], plan, device)),
    ]
    for name, run in runs if bare_first else reversed(runs):
        found[name] = cost(run, iterations)
    training = Cost(seconds[0] * 1e3 / iterations, float("nan"))
    return {"bare loop": found.pop("bare loop"), "medood, training": training} | found


def report(rounds: Sequence[dict[str, Cost]]) -> str:
    rows = []
    for name in ("bare loop", "medood, training", "medood, no validation", "medood, all of it"):
        costs, bases = [found[name] for found in rounds], [found["bare loop"] for found in rounds]
        clock = [a.clock / b.clock for a, b in zip(costs, bases, strict=True)]
        processor = [a.processor / b.processor for a, b in zip(costs, bases, strict=True)]
        rows.append(
            {
                "what": name,
                "ms per iteration": f"{median(c.clock for c in costs):.1f}",
                "ratio": f"{median(clock):.3f}",
                "lowest to highest": f"{min(clock):.3f} to {max(clock):.3f}",
                "CPU ratio": "" if isnan(median(processor)) else f"{median(processor):.3f}",
            }
        )
    return table(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("size", 64), ("images", 512), ("batch", 64), ("epochs", 3), ("rounds", 7), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    images = torch.rand(options.images, 1, options.size, options.size, generator=torch.Generator().manual_seed(0))
    plan = Training(batch_size=options.batch, epochs=options.epochs)
    rounds = [one_round(images, plan, options.device, number % 2 == 0) for number in range(options.rounds + 1)]
    print(f"{options.images} images of {options.size} x {options.size} in batches of {options.batch}, {options.threads} thread(s)\n")
    print(report(rounds[1:]))  # the first warms up


if __name__ == "__main__":
    main()
