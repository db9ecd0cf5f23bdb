"""Where to compute, and how exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

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


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Inside the block convolutions of float32 are float32 on every device.

    On NVIDIA's GPUs torch otherwise rounds what they multiply to ten bits (TF32). Most scores hardly notice; differences of large numbers,
    such as the variances in SSIM, and directions of gradients do. The setting is one for all threads; the last that leaves puts it back.
    """
    _exactly.enter()
    try:
        yield
    finally:
        _exactly.leave()


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Inside the block all is computed in the type of its tensors, also while a training rounds to bfloat16.

    For what subtracts nearly equal numbers, such as a loss made of squared distances: float32 in, float32 throughout.
    """
    with torch.autocast(device.type, enabled=False), exact_convolutions():
        yield


class _Exactly:
    def __init__(self) -> None:
        self.lock, self.inside = Lock(), 0

    def enter(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.before = _settings()
                for part, name, _ in self.before:
                    setattr(part, name, False if name == "allow_tf32" else "ieee")
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                for part, name, value in self.before:
                    setattr(part, name, value)


def _settings() -> list[tuple[Any, str, Any]]:
    """Where torch keeps the precision of convolutions, under which name, and what it is: since torch 2.9 there are two ways, and the old
    one cannot be read once somebody has used the new one."""
    backend: Any = torch.backends.cudnn
    try:
        return [(backend, "allow_tf32", backend.allow_tf32)]
    except RuntimeError:
        return [(backend.conv, "fp32_precision", backend.conv.fp32_precision)]


_exactly = _Exactly()
