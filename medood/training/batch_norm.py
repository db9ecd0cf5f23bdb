"""Batch norm over all of a batch that several processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from medood.core.running.processes import summed

_batch_norm = functional.batch_norm


class WholeBatchNorm(TorchFunctionMode):
    """Inside the block batch norm that learns takes mean and variance over the images of all processes.

    On every device and under gradients of gradients, which torch's SyncBatchNorm is not made for.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = dict(kwargs or {})
        if function is _batch_norm and found.get("training", len(args) > 5 and args[5]):
            return normalized(*args, **found)
        return function(*args, **found)


def normalized(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `torch.nn.functional.batch_norm` while training, (b, C, ...) being this process's part of the batch."""
    values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
    axes, shape = [0, *range(2, input.ndim)], (1, -1, *(1 for _ in input.shape[2:]))
    number = values.new_tensor([values.numel() / values.shape[1]])
    totals = summed(torch.cat([values.sum(axes), number]))
    number = totals[-1].detach()
    mean = totals[:-1] / number
    apart = values - mean.view(shape)
    variance = summed(apart.square().sum(axes)) / number
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((variance * number / (number - 1)).to(running_var), momentum)
    scale = (variance + eps).rsqrt() * (1.0 if weight is None else weight)
    made = apart * scale.view(shape)
    return (made if bias is None else made + bias.view(shape)).to(input.dtype)
