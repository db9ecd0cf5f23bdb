"""Learning rates over the iterations of a phase."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ignite.engine import Engine
from torch.optim import Optimizer

from medood.core.detector import Phase
from medood.core.errors import TrainingError
from medood.recipe.recipe import Training


class Schedule:
    """An Ignite handler that sets the learning rate of every optimizer before each iteration: a linear warm-up, then `plan.schedule`.

    The factor follows from the iteration alone, so there is no state to save; torch's own schedulers would keep one and insist on being
    stepped after an optimizer that a phase may not step in every iteration.
    """

    def __init__(self, plan: Training, phase: str, optimizers: Mapping[str, Optimizer], epochs: int, epoch_length: int) -> None:
        self.kind = plan.schedule
        self.warmup = plan.warmup_epochs * epoch_length
        self.total = epochs * epoch_length
        shares = plan.milestones.get(phase, ()) if isinstance(plan.milestones, Mapping) else plan.milestones
        self.milestones = [round(share * epochs) * epoch_length for share in shares]
        self.optimizers = optimizers
        for group in self._groups():
            group.setdefault("initial_lr", group["lr"])

    def __call__(self, engine: Engine) -> None:
        factor = self.factor(engine.state.iteration - 1)
        for group in self._groups():
            group["lr"] = group["initial_lr"] * factor

    def factor(self, iteration: int) -> float:
        """What the learning rate is multiplied with in iteration 0, 1, ...; 0 would be reached one iteration after the last."""
        if iteration < self.warmup:
            return (iteration + 1) / self.warmup
        if self.kind == "step":
            return 0.1 ** sum(iteration >= milestone for milestone in self.milestones)
        way = (iteration - self.warmup) / (self.total - self.warmup)
        return {"constant": 1.0, "linear": 1 - way, "cosine": (1 + math.cos(math.pi * way)) / 2}[self.kind]

    def _groups(self) -> list[dict[str, Any]]:
        """Asked for anew each time: an optimizer that loads a state replaces its groups."""
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]


def check_milestones(plan: Training, phases: Sequence[Phase]) -> None:
    """Raises TrainingError when `training.milestones` names a phase that has no learning rate."""
    learning = [phase.name for phase in phases if phase.optimizers]
    named = plan.milestones if isinstance(plan.milestones, Mapping) else {}
    if unknown := [name for name in named if name not in learning]:
        raise TrainingError(
            f"training.milestones names {', '.join(map(repr, unknown))}; the phases that learn are: {', '.join(learning) or 'none'}."
        )


def check_warmup(plan: Training, phases: Sequence[Phase], epochs: Sequence[int]) -> None:
    """Raises TrainingError when a phase that learns would warm up for all of its `epochs`."""
    for phase, count in zip(phases, epochs, strict=True):
        if phase.optimizers and plan.warmup_epochs >= count:
            raise TrainingError(
                f"training.warmup_epochs is {plan.warmup_epochs}, but phase {phase.name!r} has only {count} epochs: warm up for fewer."
            )
