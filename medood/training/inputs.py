"""What a phase trains on, where that is computed once per image."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from medood.core.detector import Detector, Phase
from medood.core.running.processes import sharing, together
from medood.recipe.recipe import Training
from medood.training.data import Images, InOrder
from medood.training.randomness import derived_seed, own_randomness


def has_inputs(phase: Phase) -> bool:
    return type(phase).inputs is not Phase.inputs


def compute_inputs(
    detector: Detector, phase: Phase, images: Images, plan: Training, path: Path, *, seed: int, device: torch.device
) -> np.ndarray | None:
    """What `inputs` of the phase says of every image, float32 (images, ...), memory-mapped in the file `path`; None if it has no inputs.

    The same bits every time on the same machine, so that a training that is resumed may compute them again. Several processes share the
    work; each has a file of its own with the rows of all images.
    """
    if not has_inputs(phase) or len(images) == 0:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: np.ndarray | None = None
    done = 0
    stream = InOrder(images, plan.batch_size, plan.channels_last, pin=device.type == "cuda").stream()
    with detector.at_rest(), own_randomness(seed, device), closing(stream) as batches:
        for number, batch in batches:
            torch.manual_seed(derived_seed(seed, phase.name, "inputs", number))
            with sharing(batch.share):
                made = together(phase.inputs(batch.to(device)).float()).cpu().numpy()
            if rows is None:
                rows = np.lib.format.open_memmap(path, "w+", np.float32, (len(images), *made.shape[1:]))
            rows[done : done + len(made)] = made
            done += len(made)
    return rows
