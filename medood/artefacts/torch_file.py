"""Files of torch.export.save (.pt2), written, and read without unpickling anything."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram, save

from medood.artefacts.parity import Program
from medood.artefacts.program import OUTPUTS
from medood.features.classifiers.graph import Graph

_MORE = (
    "_native_batch_norm_legit _unsafe_index _upsample_bilinear2d_aa acos all any argmax argmin as_strided asin atan atan2 "
    "avg_pool2d_backward bitwise_and bitwise_not bitwise_or bitwise_xor convolution_backward copy cosh cumprod diagonal empty "
    "empty_like erfc expm1 fill fmod grid_sampler_2d index index_put isinf isnan log10 log1p log2 logical_and logical_not "
    "logical_or logical_xor masked_fill max_pool2d_with_indices_backward median new_empty new_full prod remainder round "
    "scalar_tensor scatter scatter_add select_scatter sinh slice_scatter sort topk tril triu trunc unfold"
)
"""Of aten, besides those of classifiers: functions of their arguments alone."""


def write_torch(path: Path, program: ExportedProgram, description: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about views of numbers that it writes as a whole
        save(program, path, extra_files={"medood.json": json.dumps(description)})


def open_torch(path: Path) -> Program:
    """Raises MedoodError for a file that is damaged, or holds what is not known to be harmless."""
    graph = Graph(path, "The program", _MORE.split())

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            values = graph.run(torch.from_numpy(image))
        return {name: values[place].numpy() for name, place in zip(OUTPUTS, graph.outputs, strict=False)}

    return run
