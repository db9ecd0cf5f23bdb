"""One iteration: the phase's own step, and the optimizer steps that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from ignite.engine import Engine
from torch import Tensor

from medood.core.detector import Batch, Phase, Update
from medood.core.device import exact_convolutions
from medood.core.errors import TrainingError
from medood.core.running import processes
from medood.recipe.recipe import Training
from medood.training.batch_norm import WholeBatchNorm
from medood.training.losses import Losses


def step_function(phase: Phase, plan: Training, device: torch.device, losses: Losses) -> Callable[[Engine, Batch], dict[str, Tensor]]:
    """What an Ignite engine calls for every batch.

    A phase without optimizers collects what scoring will compare with, so it runs in float32, on a GPU too, and without gradients, as
    scoring does.
    """
    learns = bool(phase.optimizers)
    mixed = learns and plan.precision == "bfloat16"
    update = optimizer_update(phase, plan, device, losses)

    def step(engine: Engine, batch: Batch) -> dict[str, Tensor]:
        # Autocast's cache of weights in bfloat16 outlives an optimizer step: a second loss in the same iteration would see the old weights.
        with (
            torch.set_grad_enabled(learns),
            torch.autocast(device.type, torch.bfloat16, enabled=mixed, cache_enabled=False),
            processes.sharing(batch.share),
            WholeBatchNorm() if processes.shared() else nullcontext(),
            nullcontext() if learns else exact_convolutions(),
        ):
            try:
                return phase.step(batch.to(device), update)
            except ValueError as error:
                if batch.whole > 1:
                    raise
                raise TrainingError(
                    f"This detector cannot learn from one image at a time ({error}): set training.batch_size to 2 or more."
                ) from error

    return step


def optimizer_update(phase: Phase, plan: Training, device: torch.device, losses: Losses) -> Update:
    """Zero gradients, backward, clip, step. Gradients reach the named optimizer's own parameters only: none are computed for others.

    Of several processes all step alike, by the gradient of the mean loss of the whole batch.
    """

    def update(loss: Tensor, name: str) -> None:
        optimizer = phase.optimizers.get(name)
        if optimizer is None:
            known = ", ".join(map(repr, phase.optimizers)) or "none"
            raise TrainingError(f"Phase {phase.name!r} asked to step the optimizer {name!r}; its optimizers are: {known}.")
        losses.watch(name, loss)
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        with torch.autocast(device.type, enabled=False):
            optimizer.zero_grad(set_to_none=True)
            if processes.count() > 1:
                loss = loss * processes.weight()
            loss.backward(inputs=parameters)
            _add_up([p.grad for p in parameters if p.grad is not None])
            if plan.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, plan.clip_norm)
            optimizer.step()

    return update


def _add_up(gradients: Sequence[Tensor]) -> None:
    """Sum over the processes, in place and at once."""
    if processes.count() == 1:
        return
    whole = processes.add_up(torch.cat([each.reshape(-1) for each in gradients]))
    for each, found in zip(gradients, whole.split([each.numel() for each in gradients]), strict=True):
        each.copy_(found.view(each.shape))
