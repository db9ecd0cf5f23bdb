"""What must not have changed when training is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medood.core.detector import Detector, Phase
from medood.core.errors import ResumeError
from medood.recipe.recipe import Training


def identity(
    detector: Detector, phases: Sequence[Phase], plan: Training, *, seed: int, numbers: Mapping[str, int | str | None]
) -> dict[str, Any]:
    """Everything that training depends on and that can be written down, as plain JSON; taken before training changes it.

    `numbers` are those of the images, by what they are for.
    The number of epochs is left out: a training may go on for longer.
    """
    described = {
        "training": plan.model_dump(exclude={"tensorboard", "epochs"}),
        "seed": seed,
        **{f"number of {what}": number for what, number in numbers.items()},
        "detector": type(detector).__name__,
        "parameter": {name: list(p.shape) for name, p in detector.named_parameters()},
        "phase": {phase.name: {"epochs": phase.epochs, "optimizer": _settings(phase)} for phase in phases},
    }
    return json.loads(json.dumps(described, default=str))


def require_same(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises ResumeError with the first differences."""
    changes = list(_changes(saved, now))
    if changes:
        shown = "; ".join(changes[:3]) + ("; and more" if len(changes) > 3 else "")
        raise ResumeError(
            f"Cannot resume: this training was begun with other settings ({shown}). Put them back, or train anew without --resume; "
            "only training.epochs may change."
        )


def _settings(phase: Phase) -> dict[str, Any]:
    """Hyperparameters of every optimizer, without its parameters."""
    return {
        name: [{"type": type(optimizer).__name__} | {k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        for name, optimizer in phase.optimizers.items()
    }


def _changes(saved: Any, now: Any, where: str = "") -> Iterator[str]:
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        for key in [*saved, *(key for key in now if key not in saved)]:
            yield from _changes(saved.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif saved != now:
        yield f"{where} was {saved}, is {now}"
