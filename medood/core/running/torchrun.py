"""What torchrun told this process when it started it; nothing here imports torch before it has to."""

from __future__ import annotations

import os
from datetime import timedelta

from medood.core.errors import MedoodError

_TOLD = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def started() -> int:
    """How many processes were started together with this one, itself among them."""
    return int(os.environ["WORLD_SIZE"]) if os.environ.keys() >= _TOLD else 1


def is_first() -> bool:
    """Whether this process is the one of them all that speaks of what was done."""
    return started() == 1 or os.environ["RANK"] == "0"


def check_alone(command: str | None) -> None:
    """Raises MedoodError when several processes were started for a command that knows nothing of each other."""
    if started() > 1 and command not in (None, "train"):
        raise MedoodError(f"torchrun starts several processes for `medood train` only: start `medood {command}` without it.")


def speaks_first() -> bool:
    """Whether this is the first of all processes with something to say about their end, which is the reason for that of the others.

    The first one to ask is. Alone, it always is, and where nothing but torchrun could count them.
    """
    if started() == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    import torch.distributed as dist

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=20))
        return store.add("medood/ended", 1) == 1
    except RuntimeError:  # torchrun has ended
        return is_first()
