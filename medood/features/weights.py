"""Weights files: found on this machine, checked, and read without running anything that is in them."""

from __future__ import annotations

import importlib.util
import os
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from medood.core.errors import MedoodError
from medood.core.files.atomic import sha256 as checksum

FOLDER = "MEDOOD_WEIGHTS"
"""Environment variable with a folder in which weights files are also looked for, by their names alone."""


@dataclass(frozen=True)
class Published:
    """A weights file that recipes name by one word.

    file     its name
    sha256   of the file, or how it begins; empty if its publisher names none
    how      how to get it, as the end of a sentence
    package  Python package that holds the file in its folder models/
    """

    file: str
    sha256: str
    how: str
    package: str | None = None


def find_weights(weights: str, words: Mapping[str, Published]) -> Path:
    """The file that `weights` means: one of the `words`, or a path. Raises MedoodError with what to do when it is not there."""
    known = words.get(weights)
    places = [Path(weights)] if known is None else []
    if known and known.package and (found := importlib.util.find_spec(known.package)) and found.submodule_search_locations:
        places.append(Path(found.submodule_search_locations[0]) / "models" / known.file)
    name = known.file if known else Path(weights).name
    if folder := os.environ.get(FOLDER):
        places.append(Path(folder) / name)
    for place in places:
        if place.is_file():
            return place
    elsewhere = f"or set {FOLDER} to the folder that holds {name}" if not folder else f"{FOLDER} ({folder}) does not hold it either"
    if known:
        raise MedoodError(f"features: the weights {weights!r} ({name}) are not on this machine: {known.how}; {elsewhere}.")
    allowed = ", ".join([*words, "random"])
    raise MedoodError(f"features: there is no weights file {weights}; give its path, {elsewhere}, or one of the words {allowed}.")


def verify(path: Path, expected: str | None) -> str:
    """The file's sha256. Raises MedoodError unless it begins as `expected` does."""
    found = checksum(path)
    if expected and not found.startswith(expected.lower()):
        raise MedoodError(
            f"features: {path} is not the file that is wanted: its sha256 is {found}, expected {expected}. Put the right file there, "
            "or change `features.sha256` in the recipe if this file is meant and nothing was trained on the other."
        )
    return found


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of PyTorch, safetensors or ONNX, by their names. Raises MedoodError when it is damaged or holds more."""
    read = {".safetensors": _safetensors, ".onnx": _onnx}.get(path.suffix.lower(), _pytorch)
    tensors = read(path)
    if not tensors:
        raise MedoodError(
            f"features: {path} holds no weights: expected tensors by name, as `torch.save(model.state_dict(), FILE)` writes them."
        )
    return tensors


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Fill the network called `what`, whose names may all have one prefix in the file. Raises MedoodError unless every tensor fits."""
    wanted = {name: value.shape for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    anchor = next(iter(wanted))
    prefixes = [name.removesuffix(anchor) for name in tensors if name.endswith(anchor)] or [""]
    misfits = {
        prefix: [name for name, shape in wanted.items() if prefix + name not in tensors or tensors[prefix + name].shape != shape]
        for prefix in prefixes
    }
    prefix = min(prefixes, key=lambda each: len(misfits[each]))
    if misfits[prefix]:
        bad = misfits[prefix]
        raise MedoodError(
            f"features: {path} does not hold the weights of {what}: {len(bad)} of {len(wanted)} tensors are missing or of another size, "
            f"{bad[0]} among them. Choose the file of this network, or the network of this file."
        )
    if not next(network.parameters()).is_meta:  # `medood recipe check` builds it without memory: whether all fits is what it asks
        network.load_state_dict({name: tensors[prefix + name].float() for name in wanted}, strict=False)


def _pytorch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MedoodError(
            f"features: {path} is no PyTorch file, is damaged, or holds more than tensors, which could run code and is not read: get it "
            "again, or save the weights alone with torch.save(model.state_dict(), FILE)."
        ) from error
    except (RuntimeError, EOFError, BadZipFile, zlib.error, ValueError, KeyError, OSError, AttributeError, IndexError, TypeError) as error:
        raise MedoodError(f"features: {path} is cut short or damaged and cannot be read as a PyTorch file: get it again.") from error
    for key in ("state_dict", "model_state_dict", "model", "teacher"):  # a checkpoint of a training
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, Mapping) else {}


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise MedoodError(f"features: {path} is cut short or damaged and cannot be read as a safetensors file: get it again.") from error


def _onnx(path: Path) -> dict[str, Tensor]:
    from medood.features.onnx_weights import read_onnx

    return read_onnx(path)
