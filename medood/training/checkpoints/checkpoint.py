"""The state of training after an epoch, in safetensors files that are either whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from medood.core.detector import Detector
from medood.core.errors import ResumeError
from medood.core.files.atomic import write_tensors
from medood.core.running.processes import leads
from medood.training.checkpoints.best_epoch import BestEpoch
from medood.training.checkpoints.identity import require_same
from medood.training.checkpoints.weights import copied, restore, snapshot
from medood.training.randomness import own_random_states, random_states_of_all, set_random_states

_SECTIONS = ("weights", "best", "optimizers", "random")


@dataclass
class Checkpoint:
    """Training after `epoch` of the `planned` epochs of phase number `phase`; epoch 0 is before the phase's `begin`.

    frozen         names of the parameters that take no gradient
    optimizers     "<optimizer>/<number of the parameter>/<key>" to a tensor, and to a plain value in `numbers`
    best           of the phase so far
    history_lines  how many lines of history.jsonl belong to the epochs done
    """

    phase: int
    epoch: int
    planned: int
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
        set_random_states(own_random_states(self.random), device)

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
    planned: int,
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
        planned=planned,
        weights=snapshot(detector),
        frozen=[name for name, parameter in detector.named_parameters() if not parameter.requires_grad],
        random=random_states_of_all(device),
        optimizers={key: copied(value) for key, value in entries.items() if isinstance(value, Tensor)},
        numbers={key: value for key, value in entries.items() if not isinstance(value, Tensor)},
        best=best,
        history_lines=history_lines,
    )


class Checkpoints:
    """The checkpoints of the training in `folder`, for resuming the same training only: `identity` says which.

    training.safetensors   the latest
    phase-N.safetensors    the one after the last epoch of the learning phase number N, from which it can be trained longer

    Of several processes the first one writes; all can read.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = _place(folder)
        self.identity = identity

    def write(self, checkpoint: Checkpoint) -> None:
        self._write(_latest(self.folder), checkpoint)

    def write_end(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint as the end of its phase."""
        self._write(_end(self.folder, checkpoint.phase), checkpoint)

    def read(self) -> Checkpoint | None:
        """The latest, or None if there is none. Raises ResumeError when it is of another training or cannot be read."""
        for unfinished in self.folder.glob(".part-*"):
            unfinished.unlink(missing_ok=True)
        return self._read(_latest(self.folder))

    def read_end(self, phase: int) -> Checkpoint | None:
        """The end of a phase, or None if it is not there; raises as `read` does."""
        return self._read(_end(self.folder, phase))

    def forget_ends(self, after: int) -> None:
        """Remove the ends of the phases that come after the phase number `after`: they will be trained anew."""
        kept = {_end(self.folder, phase) for phase in range(after + 1)}
        for path in set(self.folder.glob("phase-*.safetensors")) - kept:
            path.unlink()

    def _write(self, path: Path, checkpoint: Checkpoint) -> None:
        if not leads():
            return
        best = checkpoint.best
        is_last = bool(best.weights) and best.epoch == checkpoint.epoch  # then one copy of the weights is enough
        facts = {
            "identity": self.identity,
            "phase": checkpoint.phase,
            "epoch": checkpoint.epoch,
            "planned": checkpoint.planned,
            "frozen": checkpoint.frozen,
            "numbers": checkpoint.numbers,
            "best": {"epoch": best.epoch, "loss": best.loss, "waited": best.waited},
            "best_is_last": is_last,
            "history_lines": checkpoint.history_lines,
        }
        sections = {
            "weights": checkpoint.weights,
            "best": {} if is_last else best.weights,
            "optimizers": checkpoint.optimizers,
            "random": checkpoint.random,
        }
        tensors = {f"{section}/{name}": value for section, values in sections.items() for name, value in values.items()}
        write_tensors(path, tensors, {"training": json.dumps(facts, allow_nan=False)})

    def _read(self, path: Path) -> Checkpoint | None:
        if not path.is_file():
            return None
        sections: dict[str, Any] = {section: {} for section in _SECTIONS}
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["training"])
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    section, _, name = key.partition("/")
                    sections[section][name] = file.get_tensor(key).clone()  # a view would keep the file open, and Windows from replacing it
            require_same(facts.pop("identity"), self.identity)
            best = sections.pop("best")
            facts["best"] = BestEpoch(**facts["best"], weights=sections["weights"] if facts.pop("best_is_last") else best)
            return Checkpoint(**facts, **sections)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ResumeError(f"Cannot resume: {path} is damaged ({error}). Train anew without --resume.") from error


def is_interrupted(folder: Path) -> bool:
    """Whether a training stopped in `folder` that can be resumed."""
    return _latest(_place(folder)).is_file()


def can_go_on(folder: Path) -> bool:
    """Whether what was trained in `folder`, completely or not, left a checkpoint."""
    return bool(_files(_place(folder)))


def discard_checkpoint(folder: Path, *, keep_ends: bool = False) -> None:
    """Remove what `train` left for resuming in `folder`; with `keep_ends` the last epoch of each phase stays, to be trained longer."""
    place = _place(folder)
    if not keep_ends:
        shutil.rmtree(place, ignore_errors=True)
        return
    _latest(place).unlink(missing_ok=True)
    with suppress(OSError):  # nothing in it: no phase learns
        place.rmdir()


def checkpoint_bytes(folder: Path) -> int:
    """What is kept for training longer, on the disk."""
    return sum(path.stat().st_size for path in _files(_place(folder)))


def _place(folder: Path) -> Path:
    return folder / "checkpoint"


def _latest(place: Path) -> Path:
    return place / "training.safetensors"


def _files(place: Path) -> list[Path]:
    return [path for path in (_latest(place), *place.glob("phase-*.safetensors")) if path.is_file()]


def _end(place: Path, phase: int) -> Path:
    return place / f"phase-{phase}.safetensors"


def _laid_out(value: Any, parameter: Tensor) -> Any:
    """With the parameter's memory layout where it has its shape: the order of a sum may depend on it, and so may the last bit."""
    if isinstance(value, Tensor) and value.ndim and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    return value
