"""Parameters and buffers of a detector as plain tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medood.core.detector import Detector


def snapshot(detector: Detector) -> dict[str, Tensor]:
    """A contiguous copy in main memory of everything in the detector's state dict."""
    return {name: copied(value) for name, value in detector.state_dict().items() if isinstance(value, Tensor)}


def copied(tensor: Tensor) -> Tensor:
    """A contiguous copy in main memory."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def restore(detector: Detector, weights: Mapping[str, Tensor]) -> None:
    """Put a snapshot back in place, so that optimizers keep hold of their parameters.

    A buffer that had another size when the snapshot was taken (a memory bank, empty in a new detector) takes the snapshot's size.
    """
    state = detector.state_dict()
    for name, value in weights.items():
        here = state.get(name)
        if here is not None and (here.shape, here.dtype) == (value.shape, value.dtype):
            here.copy_(value)
        else:
            owner, _, leaf = name.rpartition(".")
            detector.get_submodule(owner).register_buffer(leaf, value.to(detector.fitted_.device, copy=True))


def finite(detector: Detector) -> bool:
    """Whether every parameter is a finite number."""
    return bool(torch.nn.utils.get_total_norm(p.detach() for p in detector.parameters()).isfinite())
