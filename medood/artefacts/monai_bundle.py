"""Folders that `python -m monai.bundle run` runs, with a program of torch inside; they need MONAI, and not medood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from medood.artefacts.torch_file import write_torch
from medood.core.files.atomic import write_json, write_text

METADATA, PROGRAM, COMPARED = "configs/metadata.json", "models/model.pt2", "models/compared.npz"
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_FORWARD = "lambda self, image, program=@network_def: program(image)['score'][:, None].float()"
_SCORE_ALONE = f"$type('ScoreAlone', (torch.nn.Module,), {{'forward': {_FORWARD}}})()"
"""The network with one tensor for a result, as `monai.bundle verify_net_in_out` asks for it."""

_LICENSE = """The files of this bundle were written by medood, which is under the Apache License, Version 2.0. The weights in
models/model.pt2 belong to those who trained them, who say here under which terms they may be used.
"""


def write_bundle(folder: Path, program: ExportedProgram, description: dict[str, Any]) -> None:
    (folder / "models").mkdir(parents=True)
    write_torch(folder / PROGRAM, program, description)
    write_json(folder / "configs/inference.json", _inference(description))
    write_text(folder / "LICENSE", _LICENSE)


def write_descriptions(folder: Path, description: dict[str, Any]) -> None:
    """Last, as it has the checksums of what else is there."""
    write_text(folder / "docs/README.md", _readme(description))
    write_json(folder / METADATA, _metadata(description))


def _inference(description: dict[str, Any]) -> dict[str, Any]:
    """Scores every file of a folder into scores.json. Images are read rows first, as medood does."""
    prepared = description["input"]["is"] == "prepared"
    reader: dict[str, Any] = {"reader": "NumpyReader", "channel_dim": 0} if prepared else {"reader": "PILReader", "reverse_indexing": False}
    load = {"_target_": "LoadImage", "image_only": True, "ensure_channel_first": True, "dtype": "float32", **reader}
    answers = "{name: value.item() for name, value in @network_def(image.as_tensor()).items() if value.numel() == 1}"
    return {
        "imports": ["$import json", "$import pathlib", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "network_def": f"$torch.export.load(@bundle_root + '/{PROGRAM}').module()",
        "score_network": _SCORE_ALONE,
        "files": "$sorted(path for path in pathlib.Path(@dataset_dir).rglob('*') if path.is_file())",
        "preprocessing": {"_target_": "Compose", "transforms": [load]},
        "dataset": {"_target_": "Dataset", "data": "$[str(path) for path in @files]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "answers": f"${{path.relative_to(@dataset_dir).as_posix(): {answers} for path, image in zip(@files, @dataloader)}}",
        "run": [
            "$pathlib.Path(@output_dir).mkdir(parents=True, exist_ok=True)",
            "$pathlib.Path(@output_dir, 'scores.json').write_text(json.dumps(@answers, indent=1))",
        ],
    }


def _metadata(description: dict[str, Any]) -> dict[str, Any]:
    import monai
    import numpy as np
    import torch

    given, outputs = description["input"], description["outputs"]
    _, channels, *shape = given["shape"]
    tensor = {"type": "image", "format": "magnitude", "modality": "n/a", "dtype": "float32", "is_patch_data": False}
    low, high = given["range"]
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported by medood"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
        "optional_packages_version": {},
        "name": f"medood {description['detector']}",
        "task": "Anomaly detection in single images",
        "description": f"{description['intended_use']} Score, p-value, decision and map of {description['detector']}.",
        "authors": "those who trained the run",
        "copyright": "those who trained the run; see LICENSE",
        "intended_use": description["intended_use"],
        "network_data_format": {
            "inputs": {
                "image": tensor
                | {
                    "num_channels": channels,
                    "spatial_shape": shape,
                    "value_range": [low, high],
                    "channel_def": {str(number): f"channel {number}" for number in range(channels)},
                }
            },
            "outputs": {
                "pred" if name == "score" else name: tensor
                | {"type": "feature", "num_channels": 1, "spatial_shape": shape if name == "map" else [1], "value_range": []}
                | {"channel_def": {"0": meaning}}
                for name, meaning in outputs.items()
            },
        },
        "medood": description,
    }


def _readme(description: dict[str, Any]) -> str:
    given, decision = description["input"], description["decision"]
    outputs = "\n".join(f"- `{name}`: {meaning}" for name, meaning in description["outputs"].items())
    absent = "\n".join(f"- {sentence}" for sentence in description["not_inside"])
    return f"""# {description["detector"]}, exported by medood

**{description["intended_use"]}**

Takes float32 {given["shape"]}: {given["values"]}. Results, by name:

{outputs}

An image is called abnormal above a score of {decision["threshold"]:.6g}, as {100 * decision["false_alarm_rate"]:g} % of normal images are.

Score every file of a folder into `eval/scores.json`:

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir IMAGES

Not inside:

{absent}
"""
