"""Mean loss on held-out normal images."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import torch

from medood.core.detector import Detector, Phase
from medood.recipe.recipe import Training
from medood.training.data import Images, in_order
from medood.training.randomness import derived_seed, own_randomness


def validation_loss(
    detector: Detector,
    phase: Phase,
    held_out: Images,
    plan: Training,
    *,
    seed: int,
    device: torch.device,
    inputs: np.ndarray | None = None,
) -> float | None:
    """Mean of `phase.validate` over all images, or None when the phase has no such loss or nothing is held out.

    In eval mode, without gradients, in float32 as scoring is, with the same random numbers every time. Training goes on as if nothing had
    been validated: random states and the mode of every module are put back.
    """
    with detector.at_rest(), own_randomness(derived_seed(seed, phase.name, "validation"), device):
        losses = []
        stream = in_order(held_out, plan.batch_size, channels_last=plan.channels_last, pin=device.type == "cuda", inputs=inputs)
        with closing(stream) as batches:
            for batch in batches:
                loss = phase.validate(batch.to(device))
                if loss is None:
                    return None
                losses.append(loss)
        return torch.cat(losses).cpu().double().mean().item() if losses else None
