"""Mean loss on held-out normal images."""

from __future__ import annotations

from contextlib import closing

import torch

from medood.core.detector import Detector, Phase
from medood.core.running.processes import sharing, together
from medood.training.data import InOrder
from medood.training.randomness import derived_seed, own_randomness


def validation_loss(detector: Detector, phase: Phase, held_out: InOrder, *, seed: int, device: torch.device) -> float | None:
    """Mean of `phase.validate` over all images, or None when the phase has no such loss or nothing is held out.

    In eval mode, without gradients, in float32 as scoring is, with the same random numbers every time, however many processes share the
    work. Training goes on as if nothing had been validated: random states and the mode of every module are put back.
    """
    with detector.at_rest(), own_randomness(seed, device):
        losses = []
        with closing(held_out.stream()) as batches:
            for number, batch in batches:
                torch.manual_seed(derived_seed(seed, phase.name, "validation", number))
                with sharing(batch.share):
                    loss = phase.validate(batch.to(device))
                    if loss is None:
                        return None
                    losses.append(together(loss))
        return torch.cat(losses).cpu().double().mean().item() if losses else None
