"""Joining the other processes that torchrun started, through Ignite."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import ignite.distributed as idist
import torch

from medood.core.device import pick_device
from medood.core.errors import MedoodError, TrainingError
from medood.core.running import processes
from medood.core.running.torchrun import started

_PATIENCE = timedelta(days=2)
"""How long a process waits for another, which may calibrate or solve a closed form meanwhile. One that dies is noticed at once."""


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """The device of this process, inside the block one of all that torchrun started; without torchrun it is alone.

    Raises MedoodError when there is not one device for each of them.
    """
    if started() == 1:
        yield pick_device(device)
        return
    place = _own_device(device, int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", started())))
    try:
        idist.initialize("nccl" if place.type == "cuda" else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise MedoodError(
            f"The {started()} processes cannot reach each other at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: "
            "start them with `torchrun --nproc-per-node N -m medood train RECIPE`."
        ) from error
    processes.join(idist.get_rank(), idist.get_world_size())
    if not processes.leads():
        warnings.simplefilter("ignore")  # the first one says the same
    yield place
    processes.wait_for_all()
    processes.leave()
    idist.finalize()


def _own_device(name: str, rank: int, here: int) -> torch.device:
    """The device of process number `rank` of those that are `here`, on this machine."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and gpus == 0):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise MedoodError(f"There is only one device {name!r}, and {here} processes were started: take --device cuda or cpu.")
    if 0 < gpus < here:
        raise MedoodError(
            f"{here} processes were started on this machine, which has {gpus} GPU(s), and each needs its own: start with "
            f"--nproc-per-node {gpus}, or take --device cpu."
        )
    return pick_device(f"cuda:{rank}")


def check_number(images: int, batch_size: int) -> None:
    """Raises TrainingError when there is not an image for every process."""
    number = processes.count()
    if images < number:
        raise TrainingError(f"There are {number} processes and only {images} training images: start no more processes than images.")
    if batch_size < number:
        raise TrainingError(
            f"There are {number} processes, and a batch has {batch_size} image(s), which they share: set training.batch_size to {number} "
            "or more, best to a multiple of it."
        )
