"""The state of training after an epoch, in one safetensors file that is either whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from medood.core.detector import Detector
from medood.core.errors import TrainingError
from medood.core.files import write_tensors
from medood.training.best_epoch import BestEpoch
from medood.training.identity import require_same
from medood.training.randomness import random_states, set_random_states
from medood.training.weights import copied, restore, snapshot

_SECTIONS = ("weights", "best", "optimizers", "random")


@dataclass
class Checkpoint:
    """Training after `epoch` epochs of phase number `phase`; epoch 0 is before the phase's `begin`.

    frozen         names of the parameters that take no gradient
    optimizers     "<optimizer>/<number of the parameter>/<key>" to a tensor, and to a plain value in `numbers`
    best           of the phase so far
    history_lines  how many lines of history.jsonl belong to the epochs done
    """

    phase: int
    epoch: int
    weights: dict[str, Tensor]
    frozen: list[str]
    random: dict[str, Tensor]
    optimizers: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    best: BestEpoch = field(default_factory=BestEpoch)
    history_lines: int = 0

    def apply(self, detector: Detector, device: torch.device) -> None:
        """Weights, buffers, frozen parameters and random states as they were."""
        restore(detector, self.weights)
        for name, parameter in detector.named_parameters():
            parameter.requires_grad_(name not in self.frozen)
        set_random_states(self.random, device)

    def apply_to_optimizers(self, optimizers: Mapping[str, Optimizer]) -> None:
        """Moments and counters as they were; learning rates follow from the schedule."""
        for name, optimizer in optimizers.items():
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            state: dict[int, dict[str, Any]] = {}
            for key, value in (self.optimizers | self.numbers).items():
                owner, number, entry = key.rsplit("/", 2)
                if owner == name:
                    state.setdefault(int(number), {})[entry] = _laid_out(value, parameters[int(number)])
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def take_checkpoint(
    detector: Detector,
    device: torch.device,
    optimizers: Mapping[str, Optimizer],
    *,
    phase: int,
    epoch: int,
    best: BestEpoch,
    history_lines: int,
) -> Checkpoint:
    """Training as it is now; everything but the best weights, which never change, is copied."""
    entries = {
        f"{name}/{number}/{key}": value
        for name, optimizer in optimizers.items()
        for number, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    return Checkpoint(
        phase=phase,
        epoch=epoch,
        weights=snapshot(detector),
        frozen=[name for name, parameter in detector.named_parameters() if not parameter.requires_grad],
        random=random_states(device),
        optimizers={key: copied(value) for key, value in entries.items() if isinstance(value, Tensor)},
        numbers={key: value for key, value in entries.items() if not isinstance(value, Tensor)},
        best=best,
        history_lines=history_lines,
    )


class CheckpointFile:
    """The latest checkpoint of the training in `folder`, for resuming the same training only: `identity` says which."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.path = _path(folder)
        self.identity = identity

    def write(self, checkpoint: Checkpoint) -> None:
        best = checkpoint.best
        facts = {
            "identity": self.identity,
            "phase": checkpoint.phase,
            "epoch": checkpoint.epoch,
            "frozen": checkpoint.frozen,
            "numbers": checkpoint.numbers,
            "best": {"epoch": best.epoch, "loss": best.loss, "waited": best.waited},
            "history_lines": checkpoint.history_lines,
        }
        sections = {"weights": checkpoint.weights, "best": best.weights, "optimizers": checkpoint.optimizers, "random": checkpoint.random}
        tensors = {f"{section}/{name}": value for section, values in sections.items() for name, value in values.items()}
        write_tensors(self.path, tensors, {"training": json.dumps(facts, allow_nan=False)})

    def read(self) -> Checkpoint | None:
        """The checkpoint, or None if there is none. Raises TrainingError when it is of another training or cannot be read."""
        for unfinished in self.path.parent.glob(".part-*"):
            unfinished.unlink()
        if not self.path.is_file():
            return None
        sections: dict[str, Any] = {section: {} for section in _SECTIONS}
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = json.loads(file.metadata()["training"])
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    section, _, name = key.partition("/")
                    sections[section][name] = file.get_tensor(key).clone()  # a view would keep the file open, and Windows from replacing it
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"Cannot resume: {self.path} is damaged ({error}). Train anew without --resume.") from error
        require_same(facts.pop("identity"), self.identity)
        facts["best"] = BestEpoch(**facts["best"], weights=sections.pop("best"))
        return Checkpoint(**facts, **sections)


def discard_checkpoint(folder: Path) -> None:
    """Remove what `train` left for resuming in `folder`; call it once the trained detector is saved."""
    shutil.rmtree(_path(folder).parent, ignore_errors=True)


def _path(folder: Path) -> Path:
    return folder / "checkpoint" / "training.safetensors"


def _laid_out(value: Any, parameter: Tensor) -> Any:
    """With the parameter's memory layout where it has its shape: the order of a sum may depend on it, and so may the last bit."""
    if isinstance(value, Tensor) and value.ndim and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    return value
