"""A user's classifier: found, checked against the recipe's images, and asked for logits and features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from medood.core.detector import ImageSpec
from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256 as checksum
from medood.features.classifiers.onnx_model import OnnxModel
from medood.features.classifiers.program import Program
from medood.features.weights import FOLDER

_PROGRAMS = (".pt2",)


class Classifier(nn.Module):
    """Images in the range of the spec to logits (B, classes) and features (B, d), of a classifier that is frozen.

    The classifier sees (image - mean) / std, with a number for all channels or one for each.
    """

    mean: Tensor
    std: Tensor
    classes: int
    width: int

    def __init__(self, path: Path, spec: ImageSpec, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.path, self.spec, self.sha256 = path, spec, checksum(path)
        self.network = (Program if path.suffix.lower() in _PROGRAMS else OnnxModel)(path)
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, spec.channels):
                raise MedoodError(f"`{name}` has {len(values)} numbers, expected one, or one for each of {spec.channels} channel(s).")
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self._check()

    @property
    def gradients(self) -> bool:
        return self.network.gradients

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        seen, size = (image.float() - self.mean) / self.std, self.network.batch
        if size is None or size == len(seen):
            return self.network(seen)
        more = -len(seen) % size
        filled = torch.cat([seen, seen[-1:].expand(more, -1, -1, -1)])
        logits, features = zip(*map(self.network, filled.split(size)), strict=True)
        return torch.cat(logits)[: len(seen)], torch.cat(features)[: len(seen)]

    def _check(self) -> None:
        """Raises MedoodError unless it takes the images of the recipe and answers with two classes or more."""
        wanted, found = self.network.shape, self.spec.shape
        if len(wanted) != 3 or any(side not in (None, real) for side, real in zip(wanted, found, strict=True)):
            open_or = tuple("any" if side is None else side for side in wanted)
            raise MedoodError(
                f"The classifier {self.path} takes images of (channels, height, width) ({', '.join(map(str, open_or))}), but the "
                f"transforms make {found}: set `channels` and `size` in the transforms file."
            )
        count = 2
        try:
            with torch.no_grad():
                logits, features = self(torch.full((count, *found), self.spec.low))
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
            why = str(error).strip().partition("\n")[0].rstrip(".")
            raise MedoodError(f"The classifier {self.path} cannot compute images of {found}: {why}.") from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise MedoodError(
                f"The classifier {self.path} answers {count} images with {shape}, expected ({count}, classes) with two classes or more: "
                "a single output with a threshold is no choice among classes; export one with an output for each class."
            )
        if len(features) != count:
            raise MedoodError(f"The classifier {self.path} has no features of each image before its last linear layer.")
        self.classes, self.width = logits.shape[1], features.shape[1]


def find_classifier(name: str) -> Path:
    """The file by its path, or by its name alone in the folder of MEDOOD_WEIGHTS. Raises MedoodError when it is not there."""
    places = [Path(name), *([Path(os.environ[FOLDER]) / Path(name).name] if os.environ.get(FOLDER) else [])]
    for place in places:
        if place.is_file():
            return place
    raise MedoodError(f"There is no classifier {name}: give the path of a file of torch.export.save (.pt2) or of ONNX (.onnx).")


def open_classifier(
    name: str, spec: ImageSpec, *, sha256: str | None = None, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)
) -> Classifier:
    """The classifier in a file. Raises MedoodError, a sentence, when it is not there, another one, damaged, or does not fit."""
    path = find_classifier(name)
    if path.suffix.lower() not in (*_PROGRAMS, ".onnx"):
        raise MedoodError(
            f"The classifier {path} is no file that can be read without running code in it: export it with torch.export.save (.pt2), or as "
            "an ONNX file (.onnx)."
        )
    found = checksum(path)
    if sha256 and found != sha256.lower():
        raise MedoodError(
            f"The classifier {path} is not the file that was meant: its sha256 is {found}, expected {sha256}. Put the right file there, or "
            "change `sha256` in the recipe and train again."
        )
    return Classifier(path, spec, mean, std)
