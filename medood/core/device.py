"""Where to compute."""

from __future__ import annotations

import torch

from medood.core.errors import MedoodError


def pick_device(name: str) -> torch.device:
    """ "auto" takes a CUDA GPU, then Apple's, then the CPU. Raises MedoodError if the device asked for is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise MedoodError(f"The device {name!r} cannot be used on this machine; `medood doctor` lists those that can.") from error
    return torch.device(name)


def device_of_seat(name: str, seat: int) -> torch.device:
    """The device asked for; of several GPUs that this process sees, the one that falls to its seat, a number from 0."""
    device = pick_device(name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", seat % torch.cuda.device_count())
    return device
