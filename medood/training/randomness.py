"""Random numbers that a killed run draws again: seeds derived from names, states as tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from medood.core.running import processes


def derived_seed(*parts: int | str) -> int:
    """A seed in 0..2**32-1 that depends on every part and on nothing else: not on the platform, the process or the order of calls."""
    return int.from_bytes(hashlib.blake2b(json.dumps(parts).encode(), digest_size=4).digest(), "big")


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States (uint8) of torch's generators of the CPU and of `device`, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    elif device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(device)
    return states


def set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what `random_states` took; the state of another kind of device than `device` is left out."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        module, place = torch.get_device_module(device), () if device.type == "mps" else (device,)
        module.set_rng_state(states[device.type], *place)


def random_states_of_all(device: torch.device) -> dict[str, Tensor]:
    """As `random_states`, of every process: names end in their numbers, but for the first."""
    states = {kind: processes.gathered(state[None]) for kind, state in random_states(device).items()}
    return {_name(kind, rank): state for kind, all_of in states.items() for rank, state in enumerate(all_of)}


def own_random_states(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of this process."""
    kinds = {name.partition("-")[0] for name in states}
    return {kind: states[_name(kind, processes.rank())] for kind in kinds}


def _name(kind: str, rank: int) -> str:
    return f"{kind}-{rank}" if rank else kind


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from `seed` inside the block; afterwards the generators go on as if the block had not been there."""
    states = random_states(device)
    try:
        torch.manual_seed(seed)
        yield
    finally:
        set_random_states(states, device)
