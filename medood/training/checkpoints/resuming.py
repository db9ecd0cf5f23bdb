"""Where a training goes on that was interrupted, or that is to be longer than it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medood.core.detector import Phase
from medood.core.errors import ResumeError
from medood.recipe.recipe import Training
from medood.training.checkpoints.checkpoint import Checkpoint, Checkpoints


@dataclass(frozen=True)
class Plan:
    """The phases, their epochs under the recipe, and the rest of the recipe's training."""

    phases: Sequence[Phase]
    epochs: Sequence[int]
    training: Training


def find_start(files: Checkpoints, plan: Plan) -> Checkpoint | None:
    """The checkpoint to go on from, or None to begin anew.

    That is the end of the first phase that is now to have more epochs: it goes on as if it had not ended, and the phases after it, which
    build on it, are trained anew. If there is none, it is the latest checkpoint, or, once training was complete and that is gone, the end
    of the last phase that learns, from which only closed forms have to be solved again. A phase that stopped early, because waiting for a
    better epoch had lasted as long as `training.patience`, would have stopped in a longer training too, so that it does not go on.

    Raises ResumeError when a phase has more epochs behind it than it is to have.
    """
    latest = files.read()
    current = len(plan.phases) if latest is None else latest.phase
    last = latest
    for number, phase in enumerate(plan.phases[: current + 1]):
        end = files.read_end(number) if phase.optimizers else None
        if end is None or (latest is not None and number == current and latest.epoch != end.epoch):
            continue
        _require_growth(phase, end, plan.epochs[number])
        if end.epoch < plan.epochs[number] and not end.best.exhausted(plan.training.patience):
            return end
        last = end if latest is None else latest
    if latest is not None and current < len(plan.phases):
        _require_growth(plan.phases[current], latest, plan.epochs[current])
    return last


def what_happens(start: Checkpoint, plan: Plan) -> list[str]:
    """Sentences for who asked to go on: where, and what a learning rate that follows the number of epochs does."""
    if start.phase == len(plan.phases):
        return []
    phase, epochs = plan.phases[start.phase], plan.epochs[start.phase]
    if start.epoch == 0 or start.epoch >= epochs:
        return []
    later = [each.name for each in plan.phases[start.phase + 1 :]]
    more = f"; after it, what comes later is trained from its beginning: {', '.join(later)}" if later else ""
    said = [f"Going on with phase {phase.name} after epoch {start.epoch} of {epochs}{more}."]
    if start.planned != epochs and plan.training.schedule != "constant":
        said.append(
            f"The {plan.training.schedule} schedule of the learning rate now spans {epochs} epochs, but the first {start.epoch} followed "
            f"one of {start.planned}: the rate goes on where a training of {epochs} epochs has it, and the result is not quite that of "
            f"{epochs} epochs in one go."
        )
    return said


def _require_growth(phase: Phase, done: Checkpoint, epochs: int) -> None:
    if done.epoch > epochs:
        raise ResumeError(
            f"Cannot resume: phase {phase.name!r} has {done.epoch} epochs behind it and cannot go back to {epochs}. "
            f"Set training.epochs to {done.epoch} or more, or train anew without --resume."
        )
