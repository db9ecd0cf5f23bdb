"""What a recipe's plan of training means for the phases of a detector, and whether it fits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medood.core.detector import Phase
from medood.core.errors import TrainingError
from medood.recipe.recipe import Training
from medood.training.schedule import check_milestones, check_warmup


def check_plan(phases: Sequence[Phase], plan: Training) -> list[int]:
    """The epochs of every phase. Raises TrainingError when the plan does not fit the phases."""
    epochs = planned_epochs(phases, plan.epochs)
    check_milestones(plan, phases)
    check_warmup(plan, phases, epochs)
    return epochs


def check_held_out(phases: Sequence[Phase], found: int) -> None:
    """Raises TrainingError when there are fewer held-out images than a phase needs that runs on them."""
    for phase in phases:
        if found < phase.held_out:
            raise TrainingError(
                f"Phase {phase.name!r} needs at least {phase.held_out} held-out normal images, found {found}: hold out more of them."
            )


def check_classes(phases: Sequence[Phase], known: np.ndarray | None) -> None:
    """Raises TrainingError when the classes of the training images, int64 (n,), -1 for none, are not those that a phase tells apart."""
    found = 0 if known is None else len(np.unique(known[known >= 0]))
    for phase in (each for each in phases if each.classes):
        if not found:
            raise TrainingError(
                f"Phase {phase.name!r} tells {phase.classes} classes of images apart, but no training image has a class: give the source a "
                "table with a column `class`."
            )
        if found < 2:
            raise TrainingError(f"Phase {phase.name!r} tells classes of images apart, but all training images are of one class.")
        if found != phase.classes:
            raise TrainingError(
                f"The training images are of {found} classes, not of {phase.classes}: set the detector's `classes: {found}`."
            )


def planned_epochs(phases: Sequence[Phase], epochs: int | Mapping[str, int] | None) -> list[int]:
    """Epochs of every phase under `training.epochs`. A phase without optimizers keeps its own number."""
    named = epochs if isinstance(epochs, Mapping) else {}
    learning = [phase.name for phase in phases if phase.optimizers]
    unknown = [name for name in named if name not in learning]
    if unknown:
        raise TrainingError(
            f"training.epochs names {', '.join(map(repr, unknown))}; "
            f"the phases whose epochs can be set are: {', '.join(learning) or 'none'}."
        )
    every = epochs if isinstance(epochs, int) else None
    return [(every or named.get(phase.name, phase.epochs)) if phase.optimizers else phase.epochs for phase in phases]
